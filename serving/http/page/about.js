// What the model is, in words, from /model/info.
import { el } from "./common/dom.js";
import { count, percent, points } from "./common/words.js";

/** Show a dialog about a model; `info` is /model/info's answer. */
export function showAbout(info) {
  const dialog = el("dialog", { class: "about", "aria-labelledby": "about-title" },
    el("div", { class: "about-head" }, el("h2", { id: "about-title" }, "About this model"),
      el("form", { method: "dialog" }, el("button", { class: "plain" }, "Close"))),
    el("dl", {}, facts(info).flatMap(([name, ...sentences]) => [el("dt", {}, name), el("dd", {}, sentences.map((sentence) => el("p", {}, sentence)))])),
    measures(info.training.metrics),
    el("p", { class: "hint" }, el("a", { href: "model/info", target: "_blank", rel: "noopener" }, "The same for programs, as JSON")));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
}

function facts(info) {
  const { provenance, metrics } = info.training;
  const data = provenance.data ?? {};
  const videos = data.videos?.train;
  const encoder = info.text.encoder;
  return [
    ["Model", `${info.model_version}, from the checkpoint ${info.checkpoint.name}${provenance.created ? `, made on ${provenance.created}` : ""}.`],
    ["Learned from", data.name && `${data.name}.`, data.population && `${sentence(data.population)}.`,
      videos && `${count(videos)} videos${data.observed?.train ? `, observed ${data.observed.train}` : ""}.`],
    ["Viral means", data.viral_above_views_per_day && `More than ${count(data.viral_above_views_per_day)} views in the next day.`],
    ["What it reads", `The ${info.text.fields.join(" and the ")}, at most ${info.text.max_tokens} tokens${encoder?.name ? `, with ${encoder.name}` : ""}.`,
      `${info.features.length} numbers, among them ${info.features.map(({ label }) => label).filter((label) => !label.includes("_")).join(", ")}.`,
      info.modalities_without_weight.includes("image") && "Thumbnails are read, but this checkpoint gives them no weight: they don't change a score."],
    ["Comparing titles", info.comparison
      ? `Differences of at least ${points(info.comparison.viral_score).slice(1)} percentage points are meaningful.`
      : "No basis: on its test data titles did not improve the scores measurably."],
    ["Typical range", metrics.coverage && `${percent(metrics.coverage)} of test videos got views within the range that is shown.`],
    ["Know before use", ...(provenance.notes ?? [])],
    ["Runs on", `${info.engine.name} on ${info.engine.device}: ${info.engine.precision}. ${count(info.parameters.total)} parameters.`],
  ].map(([name, ...sentences]) => [name, ...sentences.filter(Boolean)]).filter(([, ...sentences]) => sentences.length);
}

/** How often the model ranks correctly, by what is known about a video. */
function measures(metrics) {
  const known = Object.entries(metrics.by_condition ?? {}).filter(([name]) => !name.includes("without text"));
  const rows = known.length ? known : [["all test videos", metrics]];
  const measured = rows.filter(([, found]) => Number.isFinite(found?.auroc));
  if (!measured.length) return null;
  return el("table", {},
    el("caption", {}, "How often a viral test video gets a higher score than one that is not viral"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Known of the videos"), el("th", { scope: "col" }, "Right"))),
    el("tbody", {}, measured.map(([name, found]) => el("tr", {}, el("th", { scope: "row" }, sentence(name)), el("td", {}, percent(found.auroc))))));
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;
