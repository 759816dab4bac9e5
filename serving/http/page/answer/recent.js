// The last twenty scores, kept in this browser.
import { el } from "../common/dom.js";
import { load, save } from "../common/storage.js";
import { brief, percent } from "../common/words.js";

const NAME = "recent";
const MAX_SCORES = 20;
const MAX_PICTURE = 120_000; // characters of a data: URL; larger pictures are not kept

/** A card with the scores; `open(request)` is called with the one that is chosen. */
export class Recent {
  constructor(card, open) {
    Object.assign(this, { card, open });
    this.render();
  }

  /** Keep a score. */
  add(request, answer) {
    const picture = request.thumbnail_url ?? "";
    const { thumbnail_url: ignored, ...rest } = request;
    const entry = {
      at: new Date().toISOString(),
      request: picture && picture.length <= MAX_PICTURE ? request : rest,
      score: answer.viral_score, velocity: answer.predicted_velocity, inRange: answer.in_range,
    };
    const same = JSON.stringify(entry.request);
    const entries = [entry, ...scores().filter((other) => JSON.stringify(other.request) !== same)].slice(0, MAX_SCORES);
    // Storage is a few megabytes: drop the oldest until the rest fit.
    while (entries.length && !save(NAME, entries)) entries.pop();
    this.render();
  }

  render() {
    const entries = scores();
    this.card.hidden = !entries.length;
    this.card.replaceChildren(
      el("summary", {}, el("h2", {}, `Your last scores (${entries.length})`)),
      el("ol", { class: "recent" }, entries.map((entry) => el("li", {},
        el("button", { type: "button", class: "plain", onclick: () => this.open(entry.request) },
          el("span", { class: "recent-title", dir: "auto" }, entry.request.title),
          el("strong", {}, entry.inRange ? percent(entry.score) : "no verdict"),
          el("span", { class: "hint" }, `${brief(entry.velocity)} views per day, ${when(entry.at)}`))))),
      el("p", { class: "row" },
        el("button", { type: "button", class: "plain", onclick: () => { save(NAME, []); this.render(); } }, "Forget them"),
        el("span", { class: "hint" }, "They are kept in this browser only.")));
  }
}

function scores() {
  const stored = load(NAME, []);
  return (Array.isArray(stored) ? stored : []).filter((entry) => typeof entry?.request?.title === "string"
    && Number.isFinite(entry.score) && Number.isFinite(entry.velocity)).slice(0, MAX_SCORES);
}

const when = (moment) => new Date(moment).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
