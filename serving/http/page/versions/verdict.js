// Which version wins, by how much, and when it is a tie.
import { count, percent, points } from "../common/words.js";

const EQUAL_BELOW = 0.000_002; // scores are rounded to six decimals

/**
 * `{winner, title, reasons, isBased}` of `entries`, each `{name, title, thumbnail, answer}`; `winner` is null if
 * there is none. `model` is /model/info's answer or null.
 *
 * There is a winner only beyond the smallest difference that the checkpoint's test data supports, among answers
 * within the range of the training data.
 */
export function verdict(entries, model) {
  const ranked = [...entries].sort((one, other) => other.answer.viral_score - one.answer.viral_score);
  const [best, second] = ranked;
  const last = ranked.at(-1);
  const reasons = whyAlike(entries, model);
  const baseless = whyBaseless(entries, model);
  const isBased = baseless === null;
  const none = (title) => ({ winner: null, title, reasons, isBased });
  if (!second) return none("There is nothing to compare it with.");
  if (best.answer.viral_score - last.answer.viral_score < EQUAL_BELOW) {
    return none(ranked.length === 2 ? "No difference: both score the same." : "No difference: all score the same.");
  }
  if (!isBased) {
    reasons.unshift(baseless);
    return none("No winner: there is no basis for a comparison.");
  }
  const lead = best.answer.viral_score - second.answer.viral_score;
  const smallest = model.comparison.viral_score;
  const numbers = `${percent(best.answer.viral_score)} against ${percent(second.answer.viral_score)} for ${second.name}`;
  reasons.unshift(aboutViews(best, entries));
  if (lead < EQUAL_BELOW) {
    return none(`${best.name} and ${second.name} are tied for first place at ${percent(best.answer.viral_score)}.`);
  }
  if (lead < smallest) {
    reasons.unshift(`This checkpoint cannot tell titles apart by less than ${points(smallest).slice(1)} percentage points.`);
    return none(`A tie: ${best.name} is ahead by ${points(lead).slice(1)} percentage points, ${numbers}.`);
  }
  return { winner: best.name, title: `${best.name} wins by ${points(lead).slice(1)} percentage points: ${numbers}.`, reasons, isBased };
}

function whyBaseless(entries, model) {
  const outside = entries.filter(({ answer }) => !answer.in_range).map(({ name }) => name);
  if (outside.length) return `The training data has no videos like ${outside.join(" and ")}.`;
  const unread = entries.filter(({ answer }) => answer.modalities.text.reason === "unknown_words").map(({ name }) => name);
  if (unread.length) return `The model does not know the words of ${unread.join(" and ")}.`;
  if (!model?.comparison) return "On this checkpoint's test data, titles did not improve the scores measurably.";
  return null;
}

function aboutViews(best, entries) {
  const [fastest, next] = [...entries].sort((one, other) => other.answer.predicted_velocity - one.answer.predicted_velocity);
  const rival = fastest === best ? next : best;
  const more = Math.round(fastest.answer.predicted_velocity - rival.answer.predicted_velocity);
  if (more < 1) return `${fastest.name} and ${rival.name} are expected to get the same views per day.`;
  const whose = fastest === best ? `${fastest.name} is also expected` : `${fastest.name}, however, is expected`;
  return `${whose} to get the most views: ${count(fastest.answer.predicted_velocity)} per day, ${count(more)} more than ${rival.name}.`;
}

function whyAlike(entries, model) {
  const differ = (field) => new Set(entries.map((entry) => entry[field])).size > 1;
  const reasons = [];
  if (!differ("title") && !differ("thumbnail")) reasons.push("The versions are identical.");
  if (differ("thumbnail") && model?.modalities_without_weight.includes("image")) {
    reasons.push("The thumbnails made no difference: this checkpoint gives images no weight.");
  }
  return reasons;
}
