// Every call to the service. Whatever goes wrong leaves as a Problem: a kind, and a sentence for a person.
const KEY = "miles-key";
const LIMIT_MS = 60_000;
let rememberedKey = "";

/** `kind` is offline, asleep, key, fields, busy or refused. */
export class Problem extends Error {
  constructor(kind, sentence, { errors = [], retryAfter = null, status = 0, instance = "" } = {}) {
    super(sentence);
    Object.assign(this, { kind, errors, retryAfter, status, instance });
  }
}

/** Frames without storage keep the key only as long as the page. */
export function setKey(key) {
  rememberedKey = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch { /* a third party's frame may have no storage; the variable does */ }
}

export function key() {
  if (rememberedKey) return rememberedKey;
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** One video's answer, with what moved it and where the time went. */
export function score(request, signal) {
  return post("predict?timings=1", { ...request, explain: true }, signal);
}

/** Many videos' answers, each its own or its own problem. */
export async function scoreEach(videos, signal) {
  return (await post("predict/batch", { videos }, signal)).predictions;
}

/** Whether the model can answer: `{ready, status, weights, ...}`; never throws. */
export async function health() {
  try {
    const response = await fetch("health/ready", { cache: "no-store" });
    const body = await response.json();
    return { ...body, ready: response.ok, reached: true };
  } catch { // no network, or a host's own page while it starts the service
    return { ready: false, reached: false, status: "unreachable" };
  }
}

/** The model's account of itself, or null. */
export async function modelInfo() {
  const response = await fetch("model/info");
  return response.ok ? response.json() : null;
}

async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let response;
  let text;
  try {
    const limit = AbortSignal.timeout(LIMIT_MS);
    response = await fetch(path, {
      method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.any([limit, signal]),
    });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem("offline", error.name === "TimeoutError"
      ? "The service did not answer within a minute."
      : "The service cannot be reached. Is this device online?");
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
    return new Problem("asleep", "The service is not up yet.", { status: response.status });
  }
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const details = { errors: body.errors ?? [], retryAfter, status: response.status, instance: body.instance };
  const loading = response.status === 503 && /\bnot ready\b/i.test(body.detail ?? "");
  const [kind, sentence] = loading ? ["asleep", body.detail] : sentenceOf(response.status, body);
  return new Problem(kind, sentence, details);
}

function sentenceOf(status, body) {
  switch (status) {
    case 401: return ["key", body.detail];
    case 408: return ["busy", "The connection was too slow for what was sent."];
    case 413: return ["refused", "That is more than the service takes at once. Try a smaller picture."];
    case 422: return ["fields", body.detail];
    case 429: return ["busy", "You have asked for as many scores as one visitor may."];
    case 503: return ["busy", body.type === "about:blank" ? "The service could not score this just now." : "Many people want scores right now."];
    case 504: return ["refused", "The score took too long. Try again."];
    default: return ["refused", body.detail ?? body.title ?? `The service answered with status ${status}.`];
  }
}
