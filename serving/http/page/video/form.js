// The form: its fields are the request's fields.
import { byId, el } from "../common/dom.js";

const TIMES = new Set(["published_at", "previous_observed_at"]);
const NUMBERS = /_count$|_seconds$|_rate$|_views$/;
const FIELDS = new Set([
  "title", "description", "view_count", "like_count", "comment_count", "published_at", "duration_seconds", "previous_view_count",
  "previous_observed_at", "share_count", "save_count", "completion_rate", "creator_avg_views",
]);

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

/** Fill the form with a request's fields and clear all others; values without a field are ignored. */
export function fill(form, fields) {
  form.reset();
  put(form, fields);
}

/** Fill in fields without clearing the others. */
export function put(form, fields) {
  for (const [name, value] of Object.entries(fields)) {
    const input = FIELDS.has(name) ? form.elements[name] : null;
    if (!input || value === null) continue;
    const moment = TIMES.has(name) ? new Date(value) : null;
    if (moment && Number.isNaN(moment.valueOf())) continue;
    input.value = moment ? localTime(moment) : value;
  }
  showFolded(form);
  form.elements.title.dispatchEvent(new Event("input", { bubbles: true })); // updates its preview and what is kept
}

/** Show in the folded fields' summary how many of them are filled in. */
export function showFolded(form) {
  const filled = [...byId("details").querySelectorAll("input, textarea")].filter((input) => input.value.trim()).length;
  byId("details-filled").textContent = filled ? `${filled} filled in` : "optional";
}

/** The errors that the browser finds, in the format of the service's. */
export function ownErrors(form) {
  const wrong = [...form.elements].filter((input) => input.name && !input.validity.valid)
    .map((input) => ({ field: input.name, message: input.validity.valueMissing ? "Enter a title." : input.validationMessage }));
  if (!form.elements.title.value.trim() && !wrong.some(({ field }) => field === "title")) wrong.unshift({ field: "title", message: "Enter a title." });
  return wrong;
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
    for (let fold = input.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    input.setAttribute("aria-invalid", "true");
    input.dataset.described = input.getAttribute("aria-describedby") ?? "";
    input.setAttribute("aria-describedby", `${id} ${input.dataset.described}`.trim());
    input.after(el("p", { class: "error", id }, inForm(message)));
    first ??= input;
  }
  first?.focus({ preventScroll: true });
  first?.parentElement.scrollIntoView({ block: "center" }); // the bar with the button covers the lower edge
  return strays;
}

/** An API message as the form shows it: here an unknown value is a blank field, not null. */
const inForm = (message) => `${message[0].toUpperCase()}${message.slice(1)}`.replace("null if", "leave it blank if");

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
  const asked = { share_count: /share/, save_count: /save/, completion_rate: /^completion/, creator_avg_views: /creator/ };
  for (const [field, pattern] of Object.entries(asked))
    byId(field).closest(".field").hidden = !features.some(({ name }) => pattern.test(name));
  byId("more").hidden = !byId("more").querySelector(".field:not([hidden])");
}

const aliases = { upload_date: "published_at" };

function localTime(moment) {
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
