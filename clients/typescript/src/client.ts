// The client: one method per route.
import { jsonIn, mediaTypeOf, requireAnswer } from "./answers.ts";
import { Deadline } from "./deadline.ts";
import { IncompleteBatchError, MilesError, NotReadyError, UnexpectedAnswerError, UnreachableError } from "./errors.ts";
import { valuesOf } from "./lines.ts";
import { patiently, type Patience } from "./patience.ts";
import type { BatchEntry, Explained, Health, ModelInfo, Prediction, Problem, Video } from "./types.ts";

const JSON_TYPE = "application/json";
const NDJSON_TYPE = "application/x-ndjson";
export const MAX_BATCH_VIDEOS = 256;

export interface MilesOptions extends Partial<Patience> {
  /** Where the service is: `https://owner-space.hf.space` or `http://localhost:7860`. */
  readonly url: string;
  /** One of the service's MILES_API_KEYS. Keep it on a server: a browser's user can read everything in it. */
  readonly apiKey?: string | undefined;
  /** For one try, from its start to the whole answer; in a batch, to the next line. */
  readonly timeoutMs?: number;
  /** Another fetch, for instance one with a proxy. */
  readonly fetch?: typeof fetch;
}

export interface CallOptions extends Partial<Patience> {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

export interface ScoreOptions extends CallOptions {
  /** Ask for `timings_ms` in the answer. */
  readonly timings?: boolean;
}

interface Question {
  readonly path: string;
  readonly body?: unknown;
  readonly accept?: string;
}

export class Miles {
  readonly url: string;
  readonly #apiKey: string | undefined;
  readonly #timeoutMs: number;
  readonly #patience: Patience;
  readonly #fetch: typeof fetch;

  constructor({ url, apiKey, timeoutMs = 30_000, fetch: ownFetch, ...patience }: MilesOptions) {
    this.url = url.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#timeoutMs = timeoutMs;
    this.#patience = {
      wakeWaitsMs: [5_000, 15_000, 30_000, 60_000],
      retries: 3,
      longestRetryAfterMs: 60_000,
      ...given(patience),
    };
    this.#fetch = ownFetch ?? ((...request) => globalThis.fetch(...request));
  }

  /** One video's score. */
  async predict(video: Video, options: ScoreOptions = {}): Promise<Prediction> {
    return (await this.#ask({ path: withTimings("/predict", options), body: video }, options)) as Prediction;
  }

  /**
   * Each video's entry as soon as it is scored, in any order; `index` says which video's it is. More than 256
   * videos are sent in several requests. Leaving the loop early, or aborting, ends the work on the service, too.
   */
  async *predictBatch(videos: readonly Video[], options: ScoreOptions = {}): AsyncGenerator<BatchEntry> {
    for (let first = 0; first < videos.length; first += MAX_BATCH_VIDEOS) {
      yield* this.#batch(videos.slice(first, first + MAX_BATCH_VIDEOS), first, options);
    }
  }

  /** A score, what moved it, and the scores that up to 16 changes to the video would give, in order. */
  async explain(video: Video, whatIf: readonly Partial<Video>[] = [], options: CallOptions = {}): Promise<Explained> {
    return (await this.#ask({ path: "/explain", body: { ...video, what_if: whatIf } }, options)) as Explained;
  }

  /** Architecture, features, checkpoint, metrics and limits of the served model. */
  async modelInfo(options: CallOptions = {}): Promise<ModelInfo> {
    return (await this.#ask({ path: "/model/info" }, options)) as ModelInfo;
  }

  /** Whether the model can score; makes one request. If not, `model_loaded` is false and `status` says why. */
  async health(options: CallOptions = {}): Promise<Health> {
    const deadline = this.#deadline(options);
    try {
      const response = await this.#send({ path: "/health/ready" }, deadline);
      const tells = [200, 503].includes(response.status) && mediaTypeOf(response) === JSON_TYPE;
      if (!tells) await requireAnswer(response, JSON_TYPE);
      return (await this.#read(response, deadline)) as Health;
    } finally {
      deadline.end();
    }
  }

  /** Wakes a sleeping service and resolves when it can score; a page calls it while its user is still typing. */
  async wake(options: CallOptions = {}): Promise<Health> {
    const ready = async () => {
      const health = await this.health(options);
      if (!health.model_loaded) throw new NotReadyError(health);
      return health;
    };
    return patiently(ready, this.#patienceFor(options), options.signal);
  }

  async *#batch(videos: readonly Video[], first: number, options: ScoreOptions): AsyncGenerator<BatchEntry> {
    const question = { path: withTimings("/predict/batch", options), body: { videos }, accept: NDJSON_TYPE };
    const open = () => this.#open(question, options);
    const { response, deadline } = await patiently(open, this.#patienceFor(options), options.signal);
    const missing = new Set(videos.keys());
    try {
      if (!response.body) throw new UnexpectedAnswerError(response.status, "no body");
      for await (const value of valuesOf(response.body, deadline)) {
        const { index, ...entry } = value as { index: number } & (Prediction | { error: Problem });
        missing.delete(index);
        yield { index: first + index, ...("error" in entry ? entry : { prediction: entry }) };
      }
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new IncompleteBatchError(Array.from(missing, (index) => first + index), error);
    } finally {
      deadline.end();
    }
    if (missing.size) throw new IncompleteBatchError(Array.from(missing, (index) => first + index), undefined);
  }

  async #ask(question: Question, options: CallOptions): Promise<unknown> {
    const once = async () => {
      const { response, deadline } = await this.#open(question, options);
      try {
        return await this.#read(response, deadline);
      } finally {
        deadline.end();
      }
    };
    return patiently(once, this.#patienceFor(options), options.signal);
  }

  /** A successful answer, its body unread. The deadline still runs. */
  async #open(question: Question, options: CallOptions): Promise<{ response: Response; deadline: Deadline }> {
    const deadline = this.#deadline(options);
    try {
      const response = await this.#send(question, deadline);
      await requireAnswer(response, question.accept ?? JSON_TYPE);
      return { response, deadline };
    } catch (error) {
      deadline.end();
      throw error;
    }
  }

  async #send({ path, body, accept = JSON_TYPE }: Question, deadline: Deadline): Promise<Response> {
    const headers: Record<string, string> = { Accept: accept };
    if (body !== undefined) headers["Content-Type"] = JSON_TYPE;
    if (this.#apiKey) headers["Authorization"] = `Bearer ${this.#apiKey}`;
    const init: RequestInit = { headers, signal: deadline.signal, cache: "no-store", redirect: "manual" };
    if (body !== undefined) Object.assign(init, { method: "POST", body: JSON.stringify(body) });
    return this.#translated(deadline, () => this.#fetch(this.url + path, init));
  }

  async #read(response: Response, deadline: Deadline): Promise<unknown> {
    return this.#translated(deadline, () => jsonIn(response));
  }

  async #translated<T>(deadline: Deadline, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (deadline.signal.aborted) throw deadline.signal.reason;
      throw error instanceof MilesError ? error : new UnreachableError(this.url, error);
    }
  }

  #deadline(options: CallOptions): Deadline {
    return new Deadline(options.timeoutMs ?? this.#timeoutMs, options.signal);
  }

  #patienceFor({ wakeWaitsMs, retries, longestRetryAfterMs, onWaking, onRetry }: CallOptions): Patience {
    return { ...this.#patience, ...given({ wakeWaitsMs, retries, longestRetryAfterMs, onWaking, onRetry }) };
  }
}

function withTimings(path: string, { timings = false }: ScoreOptions): string {
  return timings ? `${path}?timings=1` : path;
}

/** Without the keys whose value is undefined, which would override a default. */
function given<T extends object>(options: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
