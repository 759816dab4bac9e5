// Every call to the service. Every failure is a Problem: a kind, and a sentence for the user.
const LIMIT_MS = 60_000;
let enteredKey = "";

/** `kind` is offline, asleep, key, fields, busy or refused. */
export class Problem extends Error {
  constructor(kind, sentence, { errors = [], retryAfter = null, status = 0, instance = "", type = "" } = {}) {
    super(sentence);
    Object.assign(this, { kind, errors, retryAfter, status, instance, type });
  }
}

/** Never stored: other scripts of this origin, such as those of /docs, could read it. */
export function setKey(key) {
  enteredKey = key;
}

export function key() {
  return enteredKey;
}

/** One video's answer, with explanation and timings. */
export function score(request, signal) {
  return post("predict?timings=1", { ...request, explain: true }, signal);
}

/** /explain's answers to variations of a video. */
export async function scoreChanges(request, changes, signal) {
  return (await post("explain", { ...request, what_if: changes }, signal)).what_if;
}

/** What YouTube knows about a video, as a request. */
export const lookUp = (id) => ask(`youtube/${id}`, { headers: credentials() }, new AbortController().signal);

/** The answers to several videos, each a score or a problem. */
export async function scoreEach(videos, signal) {
  return (await post("predict/batch", { videos }, signal)).predictions;
}

/** Whether the model can answer: `{ready, status, weights, ...}`; never throws. */
export async function health() {
  try {
    const response = await fetch("health/ready", { cache: "no-store" });
    const body = await response.json();
    return { ...body, ready: response.ok, reached: true };
  } catch { // no network, or the host's own page while the service starts
    return { ready: false, reached: false, status: "unreachable" };
  }
}

/** The answer of /model/info, or null. */
export async function modelInfo() {
  try {
    const response = await fetch("model/info");
    return response.ok ? await response.json() : null;
  } catch { // the connection was lost
    return null;
  }
}

const credentials = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

function post(path, body, signal) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json", ...credentials() }, body: JSON.stringify(body) }, signal);
}

async function ask(path, options, signal) {
  let response;
  let text;
  try {
    const limit = AbortSignal.timeout(LIMIT_MS);
    response = await fetch(path, { ...options, signal: AbortSignal.any([limit, signal]) });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem("offline", error.name === "TimeoutError"
      ? "The service did not respond within a minute."
      : "The service cannot be reached. Are you online?");
  }
  const answer = parsed(text);
  if (response.ok && answer) return answer;
  throw problemOf(response, answer);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problemOf(response, body) {
  if (!body) {
    return new Problem("asleep", "The service is still starting.", { status: response.status });
  }
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const details = { errors: body.errors ?? [], retryAfter, status: response.status, instance: body.instance, type: body.type ?? "" };
  const loading = response.status === 503 && /\bnot ready\b/i.test(body.detail ?? "");
  const [kind, sentence] = loading ? ["asleep", body.detail] : sentenceOf(response.status, body);
  return new Problem(kind, sentence, details);
}

function sentenceOf(status, body) {
  switch (status) {
    case 401: return ["key", body.detail];
    case 408: return ["busy", "The upload took too long."];
    case 413: return ["refused", "The request is too large. Try a smaller image."];
    case 422: return ["fields", body.detail];
    case 429: return ["busy", "You have reached the rate limit."];
    case 503: return ["busy", body.type === "about:blank" ? "The service could not score this right now." : "The service is at capacity."];
    case 504: return ["refused", "Scoring took too long. Try again."];
    default: return ["refused", body.detail ?? body.title ?? `The service responded with status ${status}.`];
  }
}
