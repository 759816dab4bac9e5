// Which version wins, by how much, and when it is a tie.
import { count, percent, points } from "./words.js";

const TIE_BELOW = 0.01; // less than one percentage point is too small to matter
const EQUAL_BELOW = 0.000_002; // scores are rounded to six decimals

/**
 * `{winner, title, reasons}` of `entries`, each `{name, title, thumbnail, answer}`; `winner` is null if there
 * is none. `weightless` are the modalities without weight.
 */
export function verdict(entries, weightless) {
  const ranked = [...entries].sort((one, other) => other.answer.viral_score - one.answer.viral_score);
  const [best, second] = ranked;
  const last = ranked.at(-1);
  const reasons = whyAlike(entries, weightless);
  if (!second) return { winner: null, title: "There is nothing to compare it with.", reasons };
  if (best.answer.viral_score - last.answer.viral_score < EQUAL_BELOW) {
    const title = ranked.length === 2 ? "No difference: both score the same." : "No difference: all score the same.";
    return { winner: null, title, reasons };
  }
  const lead = best.answer.viral_score - second.answer.viral_score;
  const numbers = `${percent(best.answer.viral_score)} against ${percent(second.answer.viral_score)} for ${second.name}`;
  reasons.unshift(aboutViews(best, entries));
  if (lead < EQUAL_BELOW) {
    return { winner: null, title: `${best.name} and ${second.name} are tied for first place at ${percent(best.answer.viral_score)}.`, reasons };
  }
  if (lead < TIE_BELOW) {
    reasons.unshift("A lead of less than one percentage point is too small to matter.");
    return { winner: null, title: `As good as a tie: ${best.name} is ahead by ${points(lead).slice(1)} percentage points, ${numbers}.`, reasons };
  }
  return { winner: best.name, title: `${best.name} wins by ${points(lead).slice(1)} percentage points: ${numbers}.`, reasons };
}

function aboutViews(best, entries) {
  const fastest = entries.reduce((one, other) => (other.answer.predicted_velocity > one.answer.predicted_velocity ? other : one));
  const slowest = entries.reduce((one, other) => (other.answer.predicted_velocity < one.answer.predicted_velocity ? other : one));
  const more = Math.round(fastest.answer.predicted_velocity - slowest.answer.predicted_velocity);
  if (more < 1) return "The expected views per day are the same.";
  const whose = fastest === best ? `${fastest.name} is also expected` : `${fastest.name}, however, is expected`;
  return `${whose} to get the most views: ${count(fastest.answer.predicted_velocity)} per day, ${count(more)} more than ${slowest.name}.`;
}

function whyAlike(entries, weightless) {
  const differ = (field) => new Set(entries.map((entry) => entry[field])).size > 1;
  const reasons = [];
  if (!differ("title") && !differ("thumbnail")) reasons.push("The versions are identical.");
  if (differ("thumbnail") && weightless.includes("image")) {
    reasons.push("The thumbnails made no difference: this checkpoint gives images no weight.");
  }
  return reasons;
}
