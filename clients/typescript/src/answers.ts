// Reads an answer, and tells whether it is from Miles or from a host in its place.
import { AsleepError, MilesError, ProblemError, UnexpectedAnswerError } from "./errors.ts";
import type { Problem } from "./types.ts";

const GATEWAY_STATUSES = [502, 503, 504];

/** Throws the error that an answer stands for, unless it is a success from Miles. */
export async function requireAnswer(response: Response, mediaType: string): Promise<void> {
  const type = mediaTypeOf(response);
  if (response.ok && type === mediaType) return;
  if (type === "application/problem+json") throw await problemIn(response);
  await response.body?.cancel();
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    const target = response.headers.get("Location") ?? "another address"; // browsers hide it
    throw new UnexpectedAnswerError(response.status, `a redirect to ${target}`);
  }
  throw stranger(response.status, type);
}

export async function jsonIn(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new UnexpectedAnswerError(response.status, "JSON that cannot be read");
  }
}

/** The Retry-After header (RFC 9110, 10.2.3) in milliseconds. */
export function retryAfterMs(headers: Headers, now = Date.now()): number | undefined {
  const value = headers.get("Retry-After");
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

export function mediaTypeOf(response: Response): string {
  return (response.headers.get("Content-Type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

async function problemIn(response: Response): Promise<MilesError> {
  const requestId = response.headers.get("X-Request-ID") ?? undefined;
  return new ProblemError((await jsonIn(response)) as Problem, requestId, retryAfterMs(response.headers));
}

/** A page with a 4xx means a wrong address, and waiting does not help. */
function stranger(status: number, type: string): MilesError {
  const waitingPage = type === "text/html" && (status < 400 || status >= 500);
  return waitingPage || GATEWAY_STATUSES.includes(status)
    ? new AsleepError(status)
    : new UnexpectedAnswerError(status, type);
}
