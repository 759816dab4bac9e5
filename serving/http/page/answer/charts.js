// The gauge and the bars, each with a text alternative.
import { el, svg } from "../common/dom.js";
import { brief, percent } from "../common/words.js";

const ARC = "M 14 104 A 86 86 0 0 1 186 104"; // half a circle around (100, 104)

/** A score between 0 and 1 as a half circle that fills up; null draws an empty one. */
export function gauge(score) {
  const label = score === null ? null : `${percent(score)} likely to go viral`;
  const value = svg("path", { d: ARC, class: "gauge-value", pathLength: 100, "stroke-dasharray": `${(score ?? 0) * 100} 200` });
  return el("div", { class: "gauge" },
    svg("svg", { viewBox: "0 0 200 116", role: label && "img", "aria-label": label, "aria-hidden": label ? null : "true" },
      svg("path", { d: ARC, class: "gauge-track" }), score > 0 ? value : null),
    el("p", { class: "gauge-number", "aria-hidden": label ? "true" : null }, score === null ? "\u2013" : percent(score)),
    el("p", { class: "gauge-ends", "aria-hidden": "true" }, el("span", {}, "0%"), el("span", {}, "100%")));
}

/** An interval of views per day as a band on a scale of powers of ten, with a mark at the prediction. */
export function band(value, { low, high }) {
  const place = (views) => Math.log10(1 + views);
  const start = Math.floor(place(low));
  const span = Math.max(Math.ceil(place(high)), start + 1) - start;
  const share = (views) => Math.min(Math.max((place(views) - start) / span, 0), 1) * 100;
  const range = el("span", { class: "band-range" });
  range.style.left = `${share(low)}%`;
  range.style.width = `${share(high) - share(low)}%`;
  const mark = el("span", { class: "band-mark" });
  mark.style.left = `${share(value)}%`;
  const end = (power) => el("span", {}, brief(10 ** power));
  return el("div", { class: "band", "aria-hidden": "true" },
    el("span", { class: "band-track" }, range, mark),
    el("p", { class: "band-ends" }, end(start), end(start + span)));
}

/** Bars to both sides of a center line: `rows` are `{label, value, text, more}`, on any scale. */
export function bothWays(rows) {
  const longest = Math.max(...rows.map(({ value }) => Math.abs(value)), Number.EPSILON);
  return el("ul", { class: "bars" }, rows.map(({ label, value, text, more }) => {
    const bar = el("span", { class: value < 0 ? "bar down" : "bar up" });
    bar.style.width = `${(Math.abs(value) / longest) * 50}%`;
    return el("li", {},
      el("span", { class: "bar-label" }, label),
      el("span", { class: "bar-track", "aria-hidden": "true" }, bar),
      el("span", { class: "bar-text" }, text, more && el("small", {}, more)));
  }));
}

/** Bars from the left: `rows` are `{label, value, text}`, as a share of `total`. */
export function oneWay(rows, total) {
  return el("ul", { class: "bars one-way" }, rows.map(({ label, value, text }) => {
    const bar = el("span", { class: "bar" });
    bar.style.width = `${Math.min(100, (value / total) * 100)}%`;
    return el("li", {},
      el("span", { class: "bar-label" }, label),
      el("span", { class: "bar-track", "aria-hidden": "true" }, bar),
      el("span", { class: "bar-text" }, text));
  }));
}
