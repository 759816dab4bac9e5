// What can go wrong between a caller and a score.
//
//     MilesError
//     ├── ProblemError          the service said what is wrong, as problem details
//     ├── AsleepError           a host answered in place of the service, which is asleep or starting
//     ├── NotReadyError         the service is up, but its model is not ready; `health` says why
//     ├── UnreachableError      nothing answered, or a browser withheld the answer (CORS)
//     ├── TimeoutError          no answer, or no next line of a batch, within `timeoutMs`
//     ├── UnexpectedAnswerError an answer, but not from Miles: the URL is probably another service's
//     └── IncompleteBatchError  a stream ended early; `missing` says which videos have no line
//
// An aborted call rejects with its signal's own reason, as fetch does.
import type { Health, Problem } from "./types.ts";

export class MilesError extends Error {
  override name = "MilesError";
}

export class ProblemError extends MilesError {
  override name = "ProblemError";
  readonly status: number;
  readonly problem: Problem;
  /** What the service's log calls this request. */
  readonly requestId: string | undefined;
  /** How long the service asks clients to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(problem: Problem, requestId?: string, retryAfterMs?: number) {
    super(`${problem.title}: ${problem.detail}`);
    this.status = problem.status;
    this.problem = problem;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterMs;
  }
}

export class AsleepError extends MilesError {
  override name = "AsleepError";
  readonly status: number;

  constructor(status: number) {
    super(`The service is asleep or starting (its host answered ${String(status)} in its place).`);
    this.status = status;
  }
}

export class NotReadyError extends MilesError {
  override name = "NotReadyError";
  readonly health: Health;

  constructor(health: Health) {
    super(`The model is not ready: ${health.status}.`);
    this.health = health;
  }
}

export class UnreachableError extends MilesError {
  override name = "UnreachableError";

  constructor(url: string, cause: unknown) {
    super(`${url} did not answer. In a browser: does MILES_CORS_ORIGINS name this page's origin?`, { cause });
  }
}

export class TimeoutError extends MilesError {
  override name = "TimeoutError";

  constructor(timeoutMs: number) {
    super(`No answer within ${String(timeoutMs)} ms.`);
  }
}

export class UnexpectedAnswerError extends MilesError {
  override name = "UnexpectedAnswerError";
  readonly status: number;

  constructor(status: number, contentType: string) {
    super(`Status ${String(status)}, ${contentType || "no content type"}: not an answer from Miles. Check the URL.`);
    this.status = status;
  }
}

export class IncompleteBatchError extends MilesError {
  override name = "IncompleteBatchError";
  readonly missing: readonly number[];

  constructor(missing: readonly number[], cause: unknown) {
    super(`The stream ended before ${String(missing.length)} of the videos had an answer.`, { cause });
    this.missing = missing;
  }
}
