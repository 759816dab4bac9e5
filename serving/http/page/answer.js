// One answer, as a person reads it.
import { el } from "./dom.js";
import { bothWays, gauge, oneWay } from "./charts.js";
import { copyButton } from "./copying.js";
import { curlOf } from "./curl.js";
import { NAMES, STATES, account, certainty, chance, count, milliseconds, pace, percent, points, views } from "./words.js";

const STAGES = {
  download: "Thumbnail fetched", decode: "Picture decoded", tokenise: "Words cut up", text: "Words read",
  image: "Picture looked at", fusion: "Weighed up", queue: "Waiting",
};

/** What stands where the answer will. */
export function invitation() {
  return el("div", { class: "card invitation" },
    gauge(null),
    el("p", {}, el("strong", {}, "Your score will stand here.")),
    el("p", { class: "hint" }, "How likely the video is to go viral, the views per day to expect, and what the answer rests on."));
}

/** The answer's parts; `model` is /model/info's answer or null, `took` the milliseconds from click to answer. */
export function answered(answer, request, { model, took, withKey }) {
  const weightless = model?.modalities_without_weight ?? [];
  return [
    headline(answer, request, model),
    answer.warnings.length > 0 && warnings(answer.warnings),
    rests(answer, weightless),
    answer.explanation && moved(answer),
    timings(answer, took),
    asCurl(request, withKey),
  ].filter(Boolean);
}

function headline(answer, request, model) {
  const above = model?.training?.provenance?.data?.viral_above_views_per_day;
  return el("div", { class: "card headline" },
    el("div", { class: "what" },
      thumbnail(request.thumbnail_url, answer.modalities.image),
      el("h2", {}, request.title)),
    gauge(answer.viral_score),
    el("p", { class: "chance" }, chance(answer.viral_score)),
    el("dl", { class: "facts" },
      el("div", {}, el("dt", {}, "Views to expect"),
        el("dd", {}, el("strong", {}, count(answer.predicted_velocity)), " per day",
          el("p", {}, pace(answer.predicted_velocity)))),
      el("div", {}, el("dt", {}, "Confidence"),
        el("dd", {}, el("strong", {}, percent(answer.confidence)),
          el("p", {}, certainty(answer))))),
    above && el("p", { class: "hint" }, `Viral means here: more than ${count(above)} views in the day to come.`));
}

/** The picture in small, or why there is none. */
export function thumbnail(url, report) {
  const nothing = el("div", { class: "thumbnail none" }, url ? "not to be had" : "no thumbnail");
  if (!url || report.state === "failed") return nothing;
  const image = el("img", { class: "thumbnail", src: url, alt: "The video's thumbnail", referrerpolicy: "no-referrer" });
  image.addEventListener("error", () => image.replaceWith(nothing));
  return image;
}

function warnings(sentences) {
  return el("div", { class: "card notices" }, el("h3", {}, "Worth knowing"),
    el("ul", {}, sentences.map((sentence) => el("li", {}, sentence))));
}

function rests(answer, weightless) {
  return el("div", { class: "card" }, el("h3", {}, "What it rests on"),
    el("ul", { class: "modalities" }, Object.entries(answer.modalities).map(([name, report]) =>
      el("li", { class: report.state },
        el("span", { class: "name" }, NAMES[name] ?? name),
        el("span", { class: "state" }, STATES[report.state] ?? report.state),
        el("span", { class: "why" }, account(name, report, weightless))))));
}

function moved({ explanation, viral_score: score }) {
  const { baseline, contributions } = explanation;
  return el("div", { class: "card" }, el("h3", {}, "What moved the score"),
    el("p", { class: "hint" }, `In percentage points, from ${percent(baseline.viral_score)} for a video about which nothing is known to ${percent(score)} for this one; and in views per day.`),
    bothWays(contributions.map((part) => ({
      label: part.label,
      value: part.viral_score,
      said: points(part.viral_score),
      more: `${views(part.predicted_velocity)} a day`,
    }))));
}

function timings(answer, took) {
  const times = answer.timings_ms;
  const lines = [el("p", { class: "hint" }, `${milliseconds(answer.processing_time_ms)} in the service, ${milliseconds(took)} from click to answer. Model ${answer.model_version}.`)];
  if (times) {
    const rows = Object.entries(STAGES).filter(([stage]) => stage in times)
      .map(([stage, label]) => ({ label, value: times[stage], said: milliseconds(times[stage]) }));
    lines.push(oneWay(rows, times.total));
    if (times.cached.length) {
      lines.push(el("p", { class: "hint" }, `Known already: ${times.cached.map((name) => NAMES[name].toLowerCase()).join(" and ")}.`));
    }
  }
  return el("details", { class: "card" }, el("summary", {}, el("h3", {}, "Where the time went")), ...lines);
}

function asCurl(request, withKey) {
  const command = curlOf(request, new URL("predict", document.baseURI).href, withKey);
  return el("details", { class: "card" }, el("summary", {}, el("h3", {}, "The request as curl")),
    el("div", { class: "curl" },
      el("pre", { tabindex: "0", role: "region", "aria-label": "The command" }, el("code", {}, command.shown)),
      copyButton(command.text)));
}
