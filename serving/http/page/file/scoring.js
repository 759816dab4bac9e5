// Scores the rows of a CSV through /predict/batch, a few at a time, so that progress shows and no row is lost.
const MAX_ROWS = 64; // of a request
const MAX_LENGTH = 200_000; // characters of a request's JSON
const WAIT_MS = 5000;
const MAX_WAITS = 24; // without a single score between them
const AGAIN = new Set([429, 503]); // a row over the limit is sent again
// Columns as people name them, with a space for _ and -; the service itself reads only spellings of its own names.
const ALIASES = {
  title: /^(video )?(title|name)$/, view_count: /^(views|plays)$/, like_count: /^likes$/, comment_count: /^comments$/,
  duration_seconds: /^(length|seconds)$/, published_at: /^(published|publish date|published on)$/, thumbnail_url: /^(thumbnail|cover)$/,
};
// Cells that programs write for a missing value, as in clients/score_csv.py.
const UNKNOWN = new Set(["", "n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n"]);

/** The name to send each column under: its own, or the field that it is a synonym for if that field is missing. */
export function namesOf(header) {
  const taken = new Set(header);
  return header.map((name) => {
    const words = name.toLowerCase().replace(/[_-]+/g, " ");
    const field = Object.keys(ALIASES).find((each) => !taken.has(each) && ALIASES[each].test(words));
    if (field) taken.add(field);
    return field ?? name;
  });
}

/** A row as a request; the service ignores columns that it does not know. */
export function videoOf(names, cells) {
  const video = {};
  names.forEach((name, index) => {
    const cell = cells[index] ?? "";
    if (name && (name.toLowerCase() === "title" || !UNKNOWN.has(cell.trim().toLowerCase()))) video[name] = cell;
  });
  return video;
}

/** A list with null for each row to score, and an error for each row with more cells than the header. */
export function outcomesOf({ header, rows }) {
  return rows.map((cells) => (cells.slice(header.length).some((cell) => cell.trim())
    ? { error: { detail: `${cells.length} cells, the header has ${header.length}.` } } : null));
}

/**
 * Fill `outcomes`, a list with null for each row without an outcome, from `videos`. `send(videos)` asks for a
 * batch's predictions and may throw; `onProgress()` is called after each. Ends early when `signal` is aborted.
 */
export async function scoreRows(videos, outcomes, { send, onProgress, signal }) {
  let waits = 0;
  for (;;) {
    const left = outcomes.flatMap((outcome, index) => (outcome === null ? [index] : []));
    if (!left.length || signal.aborted) return;
    const indices = portion(left, videos);
    const predictions = await send(indices.map((index) => videos[index]));
    const isStuck = predictions.every(({ error }) => AGAIN.has(error?.status));
    waits = isStuck ? waits + 1 : 0;
    predictions.forEach((prediction, position) => {
      if (!AGAIN.has(prediction.error?.status) || waits > MAX_WAITS) outcomes[indices[position]] = prediction;
    });
    onProgress();
    if (predictions.some(({ error }) => AGAIN.has(error?.status)) && waits <= MAX_WAITS) await pause(signal);
  }
}

/** The first indices whose videos fit into one request, at least one. */
function portion(indices, videos) {
  let length = 0;
  const chosen = [];
  for (const index of indices.slice(0, MAX_ROWS)) {
    length += JSON.stringify(videos[index]).length;
    if (chosen.length && length > MAX_LENGTH) break;
    chosen.push(index);
  }
  return chosen;
}

function pause(signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, WAIT_MS);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

const COLUMNS = ["viral_score", "predicted_velocity", "velocity_low", "velocity_high", "in_range", "image", "model_version", "warnings", "error"];

/** The whole file with the scores as further columns, as lists of cells; with `miles_` before a name that is taken. */
export function scoredLines({ header, rows }, outcomes) {
  const names = COLUMNS.map((name) => (header.includes(name) ? `miles_${name}` : name));
  const width = rows.reduce((most, cells) => Math.max(most, cells.length), header.length);
  const padded = (cells) => Array.from({ length: width }, (_, place) => cells[place] ?? "");
  return [[...padded(header), ...names], ...rows.map((cells, index) => [...padded(cells), ...columnsOf(outcomes[index])])];
}

function columnsOf(outcome) {
  if (!outcome) return COLUMNS.map((name) => (name === "error" ? "not scored yet" : ""));
  if (outcome.error) return COLUMNS.map((name) => (name === "error" ? outcome.error.detail : ""));
  const { low = "", high = "" } = outcome.velocity_interval ?? {};
  return [outcome.viral_score, outcome.predicted_velocity, low, high, outcome.in_range, outcome.modalities.image.state,
    outcome.model_version, outcome.warnings.join(" "), ""];
}
