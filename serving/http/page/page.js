// The page: sends requests to the service and shows the answers. Start reading here.
import { byId, el } from "./common/dom.js";
import { Problem, key, modelInfo, score, scoreChanges, scoreEach, setKey } from "./common/api.js";
import { patiently } from "./common/patience.js";
import { Desk } from "./common/status.js";
import { load, save } from "./common/storage.js";
import { milliseconds, percent, seconds } from "./common/words.js";
import { showAbout } from "./about.js";
import { answered, invitation } from "./answer/answer.js";
import { Recent } from "./answer/recent.js";
import { FilePanel } from "./file/file-panel.js";
import { onReady, untilReady } from "./readiness.js";
import { installTabs } from "./tabs.js";
import { Comparison } from "./versions/compare.js";
import { watchAddress } from "./video/address-field.js";
import { EXAMPLES, VERSIONS, painted } from "./video/examples.js";
import { clearErrors, fill, offerMore, ownErrors, put, showErrors, showFolded, toRequest } from "./video/form.js";
import { pictureField } from "./video/picture-field.js";
import { filesIn } from "./video/pictures.js";
import { fromLink, isLink } from "./video/share.js";

const FORM = "form";
const MAX_PICTURE = 400_000; // characters of a data: URL that is kept with the form
const form = byId("video");
const result = byId("result");
const desk = new Desk(byId("submit"), byId("status"));
const picture = pictureField({ title: byId("title"), name: "thumbnail_url", onchange: keep });
let model = null;
let current = new AbortController();
let busyDesk = null;
let onceMore = null;

/** The result of `ask`, or null after showing the error in `output`. A newer request cancels an older one. */
async function answerOf(ask, { output, again, at = null }) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  byId("key-form").hidden = true;
  if (busyDesk !== at && busyDesk?.isBusy) busyDesk.done();
  busyDesk = at;
  at?.busy("Sent; waiting for the score.");
  output.replaceChildren(working("Scoring\u2026"));
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
    if (current.signal === signal) at?.done();
  }
}

function working(sentence, stop) {
  return el("div", { class: "card working" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("p", {}, sentence),
    stop && el("button", { type: "button", class: "plain", onclick: stop }, "Stop"));
}

function explain(problem, output, again) {
  if (problem.kind === "key") {
    output.replaceChildren();
    askForKey(again, problem.message);
    return;
  }
  const strays = problem.kind === "fields" && output === result ? showErrors(form, problem.errors) : [problem.message];
  if (problem.kind === "fields" && output === result && !strays.length && problem.errors.length) {
    output.replaceChildren(failure("Check the marked fields.", null));
    return;
  }
  output.replaceChildren(failure(strays.join(" ") || problem.message, again, problem.instance));
  bringIntoView(output);
}

function askForKey(again, message) {
  onceMore = again;
  byId("key-form").hidden = false;
  byId("key-error").textContent = key() ? message : "";
  byId("key").focus();
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
    desk.done(errors.length === 1 ? "Check the marked field." : "Check the marked fields.");
    return;
  }
  const request = toRequest(form, picture.value);
  const started = performance.now();
  const answer = await answerOf((signal) => score(request, signal), { output: result, again: scoreForm, at: desk });
  if (!answer) return;
  const took = performance.now() - started;
  const variationsOf = (changes, output) => answerOf((signal) => scoreChanges(request, changes, signal), { output, again: null });
  result.replaceChildren(...answered(answer, request, { model, took, withKey: Boolean(key()), ask: variationsOf }));
  const { state, detail } = answer.modalities.image;
  if (state === "failed") picture.fail(`Not used: ${detail ?? "Miles could not read it"}`);
  desk.done(`${answer.in_range ? `${percent(answer.viral_score)} likely to go viral` : "No verdict"}, scored in ${milliseconds(took)}.`);
  recent.add(request, answer);
  result.scrollTop = 0;
  bringIntoView(result);
}

/** Scroll to a result below or above the visible part; a result beside the form stays in view by itself. */
function bringIntoView(output) {
  const { top } = output.getBoundingClientRect();
  if (top < 0 || top > window.innerHeight * 0.4) output.scrollIntoView({ block: "start" });
}

function keep() {
  const request = toRequest(form, picture.value);
  if ((request.thumbnail_url ?? "").length > MAX_PICTURE) delete request.thumbnail_url;
  save(FORM, request);
}

/** Show a request in the form; a picture from someone else's link is not loaded. */
function show(request, { isOwn = true } = {}) {
  const { thumbnail_url: url = "", ...fields } = request;
  clearErrors(form);
  address.clear();
  fill(form, fields);
  const mayLoad = isOwn || url === "";
  picture.set(String(url), mayLoad ? "" : "From the link; shown once the video is scored.", { isShown: mayLoad });
}

function offerExamples() {
  byId("examples").append(...EXAMPLES.map(({ name, fields, hoursAgo, paint }) => {
    const url = paint ? painted(paint) : "";
    const published = hoursAgo ? { published_at: new Date(Date.now() - hoursAgo * 3_600_000).toISOString() } : {};
    return el("button", {
      type: "button", class: "example", onclick: () => { show({ ...fields, ...published, thumbnail_url: url }); scoreForm(); },
    }, url && el("img", { src: url, alt: "", width: 320, height: 180 }), el("strong", {}, name));
  }));
}

function introduce(health) {
  byId("model").textContent = health.weights === "demo" ? "Demo model" : `Model ${health.model_version}`;
  modelInfo().then((info) => {
    if (!info) return;
    model = info;
    offerMore(info.features);
    const notes = info.training.provenance.notes ?? [];
    byId("provenance").textContent = [`Checkpoint: ${info.checkpoint.name}.`, ...notes].join(" ");
    byId("about").disabled = false;
  });
}

byId("picture").append(picture.element);
result.append(invitation());
const address = watchAddress(byId("address"), byId("address-note"), [byId("title")], {
  put: (url, fields) => {
    picture.set(url);
    if (fields) put(form, fields);
  },
  needsKey: (again) => askForKey(again, "To look up YouTube's counts, enter an API key of this service."),
});
const recent = new Recent(byId("recent"), (request) => { show(request); window.scrollTo({ top: 0 }); byId("submit").focus(); });
offerExamples();
onReady(introduce);
form.addEventListener("submit", (event) => { event.preventDefault(); if (!desk.isBusy) scoreForm(); });
form.addEventListener("input", () => { showFolded(form); keep(); });
byId("clear").addEventListener("click", () => { show({}); result.replaceChildren(invitation()); desk.done(); byId("title").focus(); });
byId("about").addEventListener("click", () => showAbout(model));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!byId("key").value.trim()) return;
  setKey(byId("key").value.trim());
  byId("key-form").hidden = true;
  onceMore?.();
});
const comparison = new Comparison(byId("panel-compare"), {
  scored: () => toRequest(form, picture.value),
  ask: (videos, at, output) => answerOf((signal) => scoreEach(videos, signal), { output, at, again: () => comparison.form.requestSubmit() }),
  model: () => model,
  example: () => VERSIONS.map(({ title, paint }) => ({ title, url: painted(paint) })),
});
const filePanel = new FilePanel(byId("panel-file"), {
  send: (videos, signal) => patiently(() => scoreEach(videos, signal), signal, () => {}),
  explain: (problem, output, again) => {
    if (problem instanceof Problem) return problem.kind === "key" ? askForKey(again, problem.message) : output.prepend(failure(problem.message, again, problem.instance));
    throw problem;
  },
});
installTabs(["tab-score", "tab-compare", "tab-file"], (id) => { if (id === "tab-compare") comparison.open(); });
for (const kind of ["dragover", "drop"]) { // an image dropped elsewhere must not replace the page
  window.addEventListener(kind, (event) => event.preventDefault());
}
for (const kind of ["paste", "drop"]) {
  window.addEventListener(kind, (event) => {
    const files = filesIn(event.clipboardData ?? event.dataTransfer);
    if (/\.[ct]sv$/i.test(files[0]?.name)) {
      byId("tab-file").click();
      filePanel.take(files[0]);
    } else if (files.length && !byId("panel-score").hidden) picture.take(files);
  });
}
const shared = fromLink(location.hash);
if (isLink(location.hash) && !shared) desk.done("The link is damaged: nothing was filled in from it.");
if (isLink(location.hash)) history.replaceState(null, "", location.pathname + location.search);
show(shared ?? load(FORM, {}), { isOwn: !shared });
untilReady();
