// What would move the score: variations of the video, scored by /explain when they are asked for.
import { el } from "../common/dom.js";
import { percent, points } from "../common/words.js";

const DAY_MS = 86_400_000;
const MIN_WORDS = 4; // a title that is cut to half has two words left
const NUMBER = /\p{Nd}+(?:[.,:/]\p{Nd}+)*\s?%?/gu;
const UNCHANGED = 0.0005;

/** `[{label, changes, isText}]` for a request: what can be tried on this video. */
export function variations(request) {
  const title = request.title.trim().replace(/\s+/g, " ");
  const found = [];
  const plain = title.replace(NUMBER, "").replace(/\s+/g, " ").trim();
  if (plain && plain !== title) found.push({ label: "The title without numbers", text: plain, changes: { title: plain }, isText: true });
  const words = title.split(" ");
  if (words.length >= MIN_WORDS) {
    const short = words.slice(0, Math.ceil(words.length / 2)).join(" ");
    found.push({ label: "A title half as long", text: short, changes: { title: short }, isText: true });
  }
  if (request.published_at) {
    const earlier = new Date(Date.parse(request.published_at) - DAY_MS).toISOString();
    found.push({ label: "The same video after one more day", text: "with the counts as they are now", changes: { published_at: earlier } });
  }
  return found;
}

/** A card that asks once it is opened; `ask(what_if)` gives /explain's answers, or null after showing why not. */
export function changes(request, answer, { model, ask }) {
  const tried = variations(request);
  const output = el("div", { "aria-live": "polite" });
  const card = el("details", { class: "card", id: "changes" }, el("summary", {}, el("h3", {}, "What would move it")), output);
  if (!tried.length) {
    output.append(el("p", { class: "hint" }, "Nothing to try: the title has fewer than four words and no numbers, and the time of publication is not known."));
    return card;
  }
  let isAsked = false;
  const show = async () => {
    const found = await ask(tried.map((each) => each.changes), output);
    isAsked = found !== null;
    if (found) output.replaceChildren(el("ul", { class: "moves" }, tried.map((each, index) => row(each, found[index], answer, model))));
  };
  card.addEventListener("toggle", () => {
    if (!card.open || isAsked) return;
    isAsked = true;
    show();
  });
  return card;
}

function row({ label, text, isText }, { prediction, error }, answer, model) {
  return el("li", {},
    el("p", {}, el("strong", {}, label), " ", isText ? el("q", { dir: "auto" }, text) : text),
    el("p", { class: "outcome-words" }, error ? `Not scored: ${error.detail}` : effect(prediction, answer, isText, model)));
}

/** A change of the score in words. A change of title counts only beyond what the checkpoint can tell apart. */
function effect(changed, answer, isText, model) {
  if (!changed.in_range || !answer.in_range) return "No basis: the training data has no such videos.";
  if (changed.modalities.text.reason === "unknown_words") return "No basis: the model does not know these words.";
  if (isText && !model?.comparison) return "No basis: this checkpoint cannot tell titles apart.";
  const difference = changed.viral_score - answer.viral_score;
  const smallest = isText ? model.comparison.viral_score : UNCHANGED;
  if (Math.abs(difference) < smallest) {
    return isText ? `No difference: less than the ${points(smallest).slice(1)} percentage points that this checkpoint can tell apart.` : "No difference.";
  }
  return `${difference > 0 ? "Up" : "Down"} by ${points(difference).slice(1)} percentage points, to ${percent(changed.viral_score)}.`;
}
