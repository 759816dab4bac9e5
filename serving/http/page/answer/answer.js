// Renders one answer.
import { el } from "../common/dom.js";
import { band, bothWays, gauge, oneWay } from "./charts.js";
import { changes } from "./changes.js";
import { copyButton } from "../common/copying.js";
import { curlOf } from "./curl.js";
import { linkOf } from "../video/share.js";
import { NAMES, STATES, account, chance, count, likely, milliseconds, pace, percent, points, views } from "../common/words.js";

const MOVED = 0.001; // a tenth of a percentage point

const STAGES = {
  download: "Thumbnail fetched", decode: "Image decoded", tokenise: "Tokenized", text: "Text encoded",
  image: "Image encoded", fusion: "Combined", queue: "Queued",
};

/** The placeholder for the answer. */
export function invitation() {
  return el("div", { class: "card invitation" },
    gauge(null),
    el("p", {}, el("strong", {}, "Your score appears here.")),
    el("p", { class: "hint" }, "How likely the video is to go viral, how many views per day to expect, and what the score is based on."));
}

/**
 * The answer's parts; `model` is /model/info's answer or null, `took` the milliseconds from click to answer,
 * `ask(what_if)` gets the scores of variations.
 */
export function answered(answer, request, { model, took, withKey, ask }) {
  return [
    headline(answer, request, model),
    answer.warnings.length > 0 && warnings(answer.warnings),
    answer.explanation && moved(answer),
    changes(request, answer, { model, ask }),
    basis(answer, model),
    timings(answer, took),
    share(request),
    asCurl(request, withKey),
  ].filter(Boolean);
}

function headline(answer, request, model) {
  const above = model?.training?.provenance?.data?.viral_above_views_per_day;
  const interval = answer.velocity_interval;
  return el("div", { class: "card headline" },
    el("div", { class: "what" },
      thumbnail(request.thumbnail_url, answer.modalities.image),
      el("h2", { dir: "auto", title: request.title }, request.title)),
    gauge(answer.viral_score),
    el("p", { class: "chance" }, chance(answer)),
    el("dl", { class: "facts" },
      el("div", {}, el("dt", {}, "Expected views"),
        el("dd", {}, el("strong", {}, count(answer.predicted_velocity)), " per day",
          interval && band(answer.predicted_velocity, interval), interval && el("p", {}, likely(interval)),
          el("p", {}, pace(answer.predicted_velocity))))),
    above && el("p", { class: "hint" }, `Viral here means more than ${count(above)} views in the next day.`));
}

/** The thumbnail, or why there is none. */
export function thumbnail(url, report) {
  const nothing = el("div", { class: "thumbnail none" }, url ? "unavailable" : "no thumbnail");
  if (!url || report.state === "failed") return nothing;
  const image = el("img", { class: "thumbnail", src: url, alt: "The video's thumbnail", referrerpolicy: "no-referrer" });
  image.addEventListener("error", () => image.replaceWith(nothing));
  return image;
}

function warnings(sentences) {
  return el("div", { class: "card warnings" }, el("h3", {}, "Worth knowing"),
    el("ul", {}, sentences.map((sentence) => el("li", {}, sentence))));
}

function basis(answer, model) {
  return el("div", { class: "card" }, el("h3", {}, "What it is based on"),
    el("ul", { class: "modalities" }, Object.entries(answer.modalities).map(([name, report]) =>
      el("li", { class: report.state },
        el("span", { class: "name" }, NAMES[name] ?? name),
        el("span", { class: "state" }, STATES[report.state] ?? report.state),
        el("span", { class: "why" }, account(name, report, model))))));
}

function moved({ explanation, viral_score: score }) {
  const { baseline, contributions } = explanation;
  const [shown, rest] = [contributions.filter(hasMoved), contributions.filter((part) => !hasMoved(part))];
  return el("div", { class: "card" }, el("h3", {}, "What moved the score"),
    el("p", { class: "hint" }, `In percentage points, from ${percent(baseline.viral_score)} for a video with no information to ${percent(score)} for this one, and in views per day.`),
    shown.length > 0 && bothWays(shown.map((part) => ({
      label: part.label,
      value: part.viral_score,
      text: points(part.viral_score),
      more: `${views(part.predicted_velocity)} per day`,
    }))),
    rest.length > 0 && el("p", { class: "hint rest" }, `By less than a tenth of a point: ${rest.map(({ label }) => label).join("; ")}.`));
}

const hasMoved = (part) => Math.abs(part.viral_score) >= MOVED;

function share(request) {
  const { link, without } = linkOf(request);
  return el("div", { class: "card share" }, el("h3", {}, "Share it"),
    el("p", { class: "hint" }, `A link with the form as it is filled in${without.length ? `, without ${without.join(" and ")}` : ""}. The service does not receive its contents until the video is scored.`),
    copyButton(link, "Copy a link"));
}

function timings(answer, took) {
  const times = answer.timings_ms;
  const lines = [el("p", { class: "hint" }, `${milliseconds(answer.processing_time_ms)} in the service, ${milliseconds(took)} from click to result. Model ${answer.model_version}.`)];
  if (times) {
    const rows = Object.entries(STAGES).filter(([stage]) => stage in times)
      .map(([stage, label]) => ({ label, value: times[stage], text: milliseconds(times[stage]) }));
    lines.push(oneWay(rows, times.total));
    if (times.cached.length) {
      lines.push(el("p", { class: "hint" }, `From the cache: ${times.cached.map((name) => NAMES[name].toLowerCase()).join(" and ")}.`));
    }
  }
  return el("details", { class: "card" }, el("summary", {}, el("h3", {}, "Where the time went")), ...lines);
}

function asCurl(request, withKey) {
  const command = curlOf(request, new URL("predict", document.baseURI).href, withKey);
  return el("details", { class: "card" }, el("summary", {}, el("h3", {}, "The request as curl")),
    el("div", { class: "curl" },
      el("pre", { tabindex: "0", role: "region", "aria-label": "curl command" }, el("code", {}, command.shown)),
      copyButton(command.text)));
}
