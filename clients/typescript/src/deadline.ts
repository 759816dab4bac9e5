// A time limit that can be restarted, combined with the caller's own signal.
import { TimeoutError } from "./errors.ts";

export class Deadline {
  readonly signal: AbortSignal;
  readonly #limitMs: number;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limitMs: number, signal?: AbortSignal) {
    this.#limitMs = limitMs;
    this.signal = signal ? AbortSignal.any([signal, this.#controller.signal]) : this.#controller.signal;
    this.start();
  }

  /** Starts the whole limit again, from now. */
  start(): void {
    this.end();
    this.#timer = setTimeout(() => {
      this.#controller.abort(new TimeoutError(this.#limitMs));
    }, this.#limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** Resolves after `ms`; rejects with the signal's reason if it is aborted first. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller chose the reason
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}
