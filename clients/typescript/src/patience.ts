// Retries where that helps: while the service wakes up, and when it says when to come back.
import { pause } from "./deadline.ts";
import { AsleepError, NotReadyError, ProblemError, TimeoutError, UnreachableError } from "./errors.ts";

const OVERLOADED = "urn:miles:problem:overloaded";
const FIRST_RETRY_MS = 1000; // where a 429 or 503 does not say how long; doubled each time

export type WakingReason = "asleep" | "loading" | "unreachable" | "timeout";
export type BusyReason = "overloaded" | "limited";

/** A wait that is about to begin. */
export interface Wait<Reason> {
  readonly reason: Reason;
  /** 1 for the first wait of this call. */
  readonly attempt: number;
  readonly waitMs: number;
  readonly error: Error;
}

export interface Patience {
  /** How long to wait before each retry of a sleeping service; one retry for each entry. */
  readonly wakeWaitsMs: readonly number[];
  /** How often a 429 or an overloaded 503 is tried again. */
  readonly retries: number;
  /** A longer Retry-After is not waited for: the error is thrown at once and contains it. */
  readonly longestRetryAfterMs: number;
  readonly onWaking?: ((wait: Wait<WakingReason>) => void) | undefined;
  readonly onRetry?: ((wait: Wait<BusyReason>) => void) | undefined;
}

/** What `ask` resolves to, retried as `patience` allows; then throws its last error. */
export async function patiently<T>(ask: () => Promise<T>, patience: Patience, signal?: AbortSignal): Promise<T> {
  const counts = { wakings: 0, retries: 0 };
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const waitMs = announce(error, counts, patience);
      if (waitMs === undefined) throw error;
      await pause(waitMs, signal);
    }
  }
}

function announce(error: unknown, counts: { wakings: number; retries: number }, patience: Patience) {
  if (!(error instanceof Error)) return undefined;
  const asked = error instanceof ProblemError ? error.retryAfterMs : undefined;
  if (asked !== undefined && asked > patience.longestRetryAfterMs) return undefined;
  const waking = wakingReason(error);
  if (waking) {
    const scheduled = patience.wakeWaitsMs[counts.wakings];
    if (scheduled === undefined) return undefined;
    const waitMs = Math.max(scheduled, asked ?? 0);
    counts.wakings += 1; // not within the call below, which is skipped without a listener
    patience.onWaking?.({ reason: waking, attempt: counts.wakings, waitMs, error });
    return waitMs;
  }
  const busy = busyReason(error);
  if (busy && counts.retries < patience.retries) {
    const waitMs = asked ?? FIRST_RETRY_MS * 2 ** counts.retries;
    counts.retries += 1;
    patience.onRetry?.({ reason: busy, attempt: counts.retries, waitMs, error });
    return waitMs;
  }
  return undefined;
}

function wakingReason(error: Error): WakingReason | undefined {
  if (error instanceof AsleepError) return "asleep";
  if (error instanceof UnreachableError) return "unreachable";
  if (error instanceof TimeoutError) return "timeout";
  if (error instanceof NotReadyError) return "loading";
  const loading = error instanceof ProblemError && error.status === 503 && error.problem.type !== OVERLOADED;
  return loading ? "loading" : undefined;
}

function busyReason(error: Error): BusyReason | undefined {
  if (!(error instanceof ProblemError)) return undefined;
  if (error.status === 429) return "limited";
  return error.status === 503 ? "overloaded" : undefined;
}
