// The form: its fields are the request's fields.
import { byId, el } from "./dom.js";

const TIMES = new Set(["published_at", "previous_observed_at"]);
const NUMBERS = /_count$|_seconds$|_rate$|_views$/;

/** The form as a request, without its empty fields. */
export function toRequest(form, thumbnail) {
  const request = {};
  for (const [name, value] of new FormData(form)) {
    if (typeof value !== "string" || value.trim() === "" || name === "thumbnail_url") continue;
    if (TIMES.has(name)) request[name] = new Date(value).toISOString();
    else request[name] = NUMBERS.test(name) ? Number(value) : value;
  }
  if (thumbnail) request.thumbnail_url = thumbnail;
  return request;
}

/** Fill the form with an example and clear all other fields. */
export function fill(form, fields, hoursAgo) {
  form.reset();
  for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
  if (hoursAgo) form.elements.published_at.value = localTime(new Date(Date.now() - hoursAgo * 3_600_000));
}

/** The errors that the browser finds, in the form of the service's. */
export function ownErrors(form) {
  return [...form.elements]
    .filter((input) => input.name && !input.validity.valid)
    .map((input) => ({ field: input.name, message: input.validity.valueMissing ? "Enter a title." : input.validationMessage }));
}

/** Show each error at its field; returns the messages that belong to no field. */
export function showErrors(form, errors) {
  clearErrors(form);
  const strays = [];
  let first = null;
  for (const { field, message } of errors) {
    const input = form.elements[aliases[field] ?? field];
    if (!input) {
      strays.push(`${field}: ${message}`);
      continue;
    }
    const id = `${input.id}-error`;
    if (byId(id)) continue;
    const more = input.closest("details");
    if (more) more.open = true;
    input.setAttribute("aria-invalid", "true");
    input.dataset.described = input.getAttribute("aria-describedby") ?? "";
    input.setAttribute("aria-describedby", `${id} ${input.dataset.described}`.trim());
    input.after(el("p", { class: "error", id }, message));
    first ??= input;
  }
  first?.focus();
  return strays;
}

export function clearErrors(form) {
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    if (input.dataset.described) input.setAttribute("aria-describedby", input.dataset.described);
    else input.removeAttribute("aria-describedby");
  }
  form.querySelectorAll("p.error[id]").forEach((message) => message.remove());
}

/** Show the fields that only some checkpoints read, if the checkpoint in service reads them. */
export function offerMore(features) {
  byId("history").hidden = !features.some(({ group }) => group === "history");
  const asked = { share_count: /^share/, save_count: /^save/, completion_rate: /^completion/, creator_avg_views: /^creator/ };
  byId("more").hidden = !features.some(({ name }) => Object.values(asked).some((pattern) => pattern.test(name)));
}

const aliases = { upload_date: "published_at" };

function localTime(moment) {
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
