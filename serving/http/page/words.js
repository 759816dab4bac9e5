// Numbers and states of an answer in words for a person.
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

const CHANCES = [
  [0.02, "Very unlikely to go viral"],
  [0.2, "Unlikely to go viral"],
  [0.45, "Rather not going viral"],
  [0.55, "Could go either way"],
  [0.8, "Rather going viral"],
  [0.98, "Likely to go viral"],
  [Infinity, "Very likely to go viral"],
];

const IMAGE = {
  no_thumbnail: "None was given; a neutral picture stands in for it.",
  no_image_tower: "This checkpoint reads no pictures.",
  bad_url: "That is no address of a picture; a neutral picture stands in.",
  forbidden: "Miles may not fetch from that address; a neutral picture stands in.",
  unreachable: "No picture could be had from that address; a neutral picture stands in.",
  not_an_image: "What came is no picture that Miles can read; a neutral picture stands in.",
  too_large: "The picture is too large; a neutral picture stands in.",
};

const FEATURES = {
  log_age_hours: "when it went up",
  log_views_per_hour: "views per hour since then",
  age_known: "whether its age is known",
  upload_hour: "the hour it went up",
  is_weekend: "whether it went up at a weekend",
  publish_dayofweek: "the weekday it went up",
  shares: "shares",
  share_rate: "shares per view",
  saves: "saves",
  save_rate: "saves per view",
  engagement_rate: "engagement per view",
  completion_rate: "how much of it is watched",
  creator_avg_views: "the creator's average views",
};

export const NAMES = { text: "Words", image: "Thumbnail", scalars: "Numbers" };
export const STATES = {
  used: "used", missing: "missing", failed: "failed", truncated: "used in part", imputed: "filled in",
};

/** A probability as a person reads it: two decimals only where they are all there is. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  if (value < 100 && value > 99.99) return "> 99.99 %";
  return `${value.toFixed(value < 1 || value > 99 ? 2 : 1)} %`;
}

/** A difference of probabilities, with its sign. */
export function points(difference) {
  const value = Math.abs(difference * 100);
  const digits = value < 1 ? 2 : 1;
  if (value.toFixed(digits) === (0).toFixed(digits)) return "0";
  return `${difference < 0 ? "\u2212" : "+"}${value.toFixed(digits)}`;
}

export const count = (number) => whole.format(number);
export const brief = (number) => compact.format(number);
export const milliseconds = (number) => `${number < 10 ? number.toFixed(1) : whole.format(number)} ms`;
export const chance = (score) => CHANCES.find(([below]) => score < below)[1];

/** Signed views per day, short. */
export function views(difference) {
  if (Math.abs(difference) < 0.5) return "0";
  return `${difference < 0 ? "\u2212" : "+"}${compact.format(Math.abs(difference))}`;
}

/** What so many views per day are like. */
export function pace(perDay) {
  if (perDay < 1) return "Hardly anybody would see it.";
  const hour = perDay / 24;
  const often = hour >= 60 ? `about ${brief(hour / 60)} a minute`
    : hour >= 1 ? `about ${brief(hour)} an hour` : `one every ${brief(1 / hour)} hours`;
  return `${often[0].toUpperCase()}${often.slice(1)}; ${brief(perDay * 7)} in a week if it keeps up.`;
}

/** What the confidence is confidence in. */
export const certainty = ({ viral_score: score }) => `That it ${score < 0.5 ? "will not" : "will"} go viral.`;

/** What became of one modality, as a sentence; `weightless` are those that the checkpoint gives no weight. */
export function account(name, { state, reason }, weightless = []) {
  if (state === "used" && weightless.includes(name)) {
    return "Looked at, but this checkpoint gives it no weight: any other would score the same.";
  }
  if (state === "used") {
    return { text: "Read to the end.", image: "Looked at.", scalars: "All known." }[name] ?? "Used.";
  }
  if (state === "truncated") return `Too long to be read to the end: ${reason}.`;
  if (state === "imputed") return `Not said: ${reason.split(", ").map((feature) => FEATURES[feature] ?? feature).join(", ")}. The average of the training videos stands in.`;
  return IMAGE[reason] ?? `${STATES[state] ?? state}: ${reason}.`;
}

/** Seconds as a person says them. */
export const seconds = (number) => (number === 1 ? "1 second" : `${number} seconds`);
