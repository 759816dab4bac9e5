// The numbers and states of an answer in words.
const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

const CHANCES = [
  [0.02, "Very unlikely to go viral"],
  [0.2, "Unlikely to go viral"],
  [0.45, "Probably won't go viral"],
  [0.55, "Could go either way"],
  [0.8, "Will probably go viral"],
  [0.98, "Likely to go viral"],
  [Infinity, "Very likely to go viral"],
];

const IMAGE = {
  no_thumbnail: "None was given; a neutral image is used instead.",
  no_image_tower: "This checkpoint does not use images.",
  no_text_tower: "This checkpoint does not read text.",
  bad_url: "Not a valid image URL; a neutral image is used instead.",
  forbidden: "Miles may not fetch from that address; a neutral image is used instead.",
  unreachable: "The image could not be downloaded; a neutral image is used instead.",
  not_an_image: "Not an image that Miles can read; a neutral image is used instead.",
  unsupported_format: "Not an image that Miles can read; a neutral image is used instead.",
  truncated: "The image is incomplete; a neutral image is used instead.",
  too_large: "The image is too large; a neutral image is used instead.",
  too_many_pixels: "The image has too many pixels; a neutral image is used instead.",
};

export const NAMES = { text: "Text", image: "Thumbnail", scalars: "Numbers" };
export const STATES = {
  used: "used", missing: "missing", failed: "failed", truncated: "truncated", imputed: "filled in",
};

/** A probability as a percentage; no checkpoint is calibrated closely enough for less than 1 or more than 99. */
export function percent(share) {
  const value = share * 100;
  if (value < 1) return "<1%";
  if (value > 99) return ">99%";
  return `${value.toFixed(1)}%`;
}

/** A difference of probabilities, with its sign. */
export function points(difference) {
  const value = Math.abs(difference * 100);
  const digits = value < 1 ? 2 : 1;
  if (value.toFixed(digits) === (0).toFixed(digits)) return "0";
  return `${difference < 0 ? "\u2212" : "+"}${value.toFixed(digits)}`;
}

export const count = (number) => integer.format(number);
export const brief = (number) => compact.format(number);
export const milliseconds = (number) => `${number < 10 ? number.toFixed(1) : integer.format(number)} ms`;

/** The score as a verdict, which an answer out of the training data's range does not get. */
export function chance({ viral_score: score, in_range: inRange }) {
  return inRange ? CHANCES.find(([below]) => score < below)[1] : "No verdict: the training data has no videos like this one";
}

/** An interval of views per day in words. */
export const likely = ({ low, high, coverage }) => `${count(low)} to ${count(high)} for ${percent(coverage).replace(".0", "")} of such videos`;

/** Signed views per day, short. */
export function views(difference) {
  if (Math.abs(difference) < 0.5) return "0";
  return `${difference < 0 ? "\u2212" : "+"}${compact.format(Math.abs(difference))}`;
}

/** Views per day in more familiar units. */
export function pace(perDay) {
  if (perDay < 1) return "Hardly anyone would see it.";
  const hour = perDay / 24;
  const often = hour >= 60 ? `about ${brief(hour / 60)} a minute`
    : hour >= 1 ? `about ${brief(hour)} an hour` : `one every ${brief(1 / hour)} hours`;
  return `${often[0].toUpperCase()}${often.slice(1)}; ${brief(perDay * 7)} in a week at this rate.`;
}

/** How one modality was used, as a sentence; `model` is /model/info's answer or null. */
export function account(name, { state, reason, imputed = [] }, model) {
  if (state === "used" && model?.modalities_without_weight.includes(name)) {
    return "This checkpoint gives it no weight, so it does not change the score.";
  }
  if (reason === "no_visible_text") return "The title has no visible characters.";
  if (reason === "unknown_words") return "The text encoder knows none of its words.";
  if (state === "used") {
    const scalars = imputed.length ? `Known, except ${listed(imputed)}.` : "All known.";
    return { text: "Read in full.", image: "Used.", scalars }[name] ?? "Used.";
  }
  if (state === "truncated") return `Too long: ${reason}.`;
  if (state === "imputed") return `Not known: ${listed(imputed)}. The average of the training data is used instead.`;
  return IMAGE[reason] ?? `${STATES[state] ?? state}: ${reason}.`;
}

/** A number of seconds in words. */
export const seconds = (number) => (number === 1 ? "1 second" : `${number} seconds`);

const FIELDS = {
  view_count: "views", like_count: "likes", comment_count: "comments", share_count: "shares", save_count: "saves",
  duration_seconds: "length", published_at: "time of publication", previous_view_count: "views at an earlier look",
  completion_rate: "fraction watched", creator_avg_views: "creator's average views",
};
/** The imputed fields in words; the time of an earlier look is listed with its views. */
const listed = (imputed) => imputed.filter((name) => name !== "previous_observed_at").map((name) => FIELDS[name] ?? name).join(", ");
