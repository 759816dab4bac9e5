// The page: sends requests to the service and shows the answers. Start reading here.
import { announce, byId, el } from "./dom.js";
import { Problem, key, modelInfo, score, scoreEach, setKey } from "./api.js";
import { answered, invitation } from "./answer.js";
import { Comparison } from "./compare.js";
import { EXAMPLES, VERSIONS, painted } from "./examples.js";
import { clearErrors, fill, offerMore, ownErrors, showErrors, toRequest } from "./form.js";
import { patiently } from "./patience.js";
import { pictureField } from "./picture-field.js";
import { onReady, untilReady } from "./readiness.js";
import { percent, seconds } from "./words.js";

const form = byId("video");
const result = byId("result");
const picture = pictureField({ name: "thumbnail_url" });
let model = null;
let current = new AbortController();
let onceMore = null;

/** The result of `ask`, or null after showing the error in `output`. A newer request cancels an older one. */
async function answerOf(ask, output, again) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  byId("key-form").hidden = true;
  output.setAttribute("aria-busy", "true");
  output.replaceChildren(working("Scoring\u2026"));
  announce("Scoring");
  try {
    return await patiently(() => ask(signal), signal, (problem, left) => {
      output.replaceChildren(working(`${problem.message} Trying again in ${seconds(left)}.`, () => { current.abort(); output.replaceChildren(); }));
    });
  } catch (problem) {
    if (signal.aborted) return null;
    if (!(problem instanceof Problem)) throw problem;
    explain(problem, output, again);
    return null;
  } finally {
    if (current.signal === signal) output.removeAttribute("aria-busy");
  }
}

function working(sentence, stop) {
  return el("div", { class: "card working" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("p", {}, sentence),
    stop && el("button", { type: "button", class: "plain", onclick: stop }, "Stop"));
}

function explain(problem, output, again) {
  if (problem.kind === "key") {
    onceMore = again;
    output.replaceChildren();
    byId("key-form").hidden = false;
    byId("key-error").textContent = key() ? problem.message : "";
    byId("key").focus();
    return;
  }
  const strays = problem.kind === "fields" && output === result ? showErrors(form, problem.errors) : [problem.message];
  if (problem.kind === "fields" && output === result && !strays.length && problem.errors.length) {
    output.replaceChildren(failure("Check the marked fields.", null));
    return;
  }
  output.replaceChildren(failure(strays.join(" ") || problem.message, again, problem.instance));
}

function failure(sentence, again, instance) {
  return el("div", { class: "card failure", role: "alert" }, el("h2", {}, "No score"), el("p", {}, sentence),
    instance && el("p", { class: "hint" }, `Reference: ${instance}`),
    again && el("button", { type: "button", class: "plain", onclick: again }, "Try again"));
}

async function scoreForm() {
  clearErrors(form);
  const errors = ownErrors(form);
  if (errors.length) {
    showErrors(form, errors);
    return;
  }
  const request = toRequest(form, picture.value);
  const started = performance.now();
  const answer = await answerOf((signal) => score(request, signal), result, scoreForm);
  if (!answer) return;
  const took = performance.now() - started;
  result.replaceChildren(...answered(answer, request, { model, took, withKey: Boolean(key()) }));
  announce(`${percent(answer.viral_score)} likely to go viral.`);
  if (result.getBoundingClientRect().top > window.innerHeight * 0.6) result.scrollIntoView({ block: "start" });
}

function offerExamples() {
  byId("examples").append(...EXAMPLES.map(({ name, fields, hoursAgo, paint }) => {
    const url = paint ? painted(paint) : "";
    return el("button", {
      type: "button", class: "example", onclick: () => { fill(form, fields, hoursAgo); picture.set(url); scoreForm(); },
    }, url ? el("img", { src: url, alt: "", width: 320, height: 180 }) : el("span", { class: "blank", "aria-hidden": "true" }, "?"),
    el("strong", {}, name), el("span", {}, fields.title));
  }));
}

/** Tabs as in the WAI-ARIA Authoring Practices: the arrow keys move, and moving selects. */
function installTabs(onOpen) {
  const tabs = [byId("tab-score"), byId("tab-compare")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    onOpen(chosen.id);
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key: pressed }) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[pressed];
      if (to === undefined) return;
      const next = tabs.at(to % tabs.length); // -1 is the last tab
      next.focus();
      choose(next);
    });
  });
}

function introduce(health) {
  byId("model").textContent = health.weights === "demo" ? "Demo model" : `Model ${health.model_version}`;
  modelInfo().then((info) => {
    if (!info) return;
    model = info;
    offerMore(info.features);
    const notes = info.training.provenance.notes ?? [];
    byId("provenance").textContent = [`Checkpoint: ${info.checkpoint.name}.`, ...notes].join(" ");
  });
}

byId("picture").append(picture.element);
result.append(invitation());
offerExamples();
onReady(introduce);
form.addEventListener("submit", (event) => { event.preventDefault(); scoreForm(); });
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!byId("key").value.trim()) return;
  setKey(byId("key").value.trim());
  byId("key-form").hidden = true;
  onceMore?.();
});
const comparison = new Comparison(byId("panel-compare"), {
  common: () => toRequest(form, picture.value),
  ask: (videos, output) => answerOf((signal) => scoreEach(videos, signal), output, () => comparison.form.requestSubmit()),
  model: () => model,
  example: () => VERSIONS.map(({ title, paint }) => ({ title, url: painted(paint) })),
});
installTabs((id) => { if (id === "tab-compare") comparison.open(); });
for (const kind of ["dragover", "drop"]) { // an image dropped elsewhere must not replace the page
  window.addEventListener(kind, (event) => event.preventDefault());
}
untilReady();
