// Retries a request: waits until the service is ready, or as long as Retry-After says.
import { Problem } from "./api.js";
import { untilReady } from "../readiness.js";

const MAX_TRIES = 5;
const MIN_WAIT_S = 1;

/**
 * The result of `ask`. `onWait(problem, secondsLeft)` is called every second of a wait that the service asked for;
 * aborting `signal` ends it.
 */
export async function patiently(ask, signal, onWait) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (problem) {
      if (!(problem instanceof Problem) || tries === MAX_TRIES) throw problem;
      if (problem.kind === "asleep") await abortable(untilReady(), signal);
      else if (problem.kind === "busy" && problem.retryAfter) await countDown(problem, signal, onWait);
      else throw problem;
    }
  }
}

async function countDown(problem, signal, onWait) {
  for (let left = Math.max(problem.retryAfter, MIN_WAIT_S); left > 0; left -= 1) {
    onWait(problem, left);
    await abortable(new Promise((resolve) => setTimeout(resolve, 1000)), signal);
  }
}

function abortable(promise, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}
