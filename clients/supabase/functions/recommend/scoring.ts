// Scores the draft and each idea with one call of /explain, and keeps ideas that are clearly better.
import { type Measured, reasonsOf } from "./patterns.ts";
import { Failure, textOf } from "./problems.ts";
import type { Settings } from "./settings.ts";

const MAX_ANSWER = 2_000_000; // bytes

export interface Prediction {
  readonly viral_score: number;
  readonly predicted_velocity: number;
  readonly velocity_interval: { readonly low: number; readonly high: number; readonly coverage: number } | null;
  readonly in_range: boolean;
  readonly model_version: string;
  readonly explanation?: {
    readonly contributions: readonly { readonly group: string; readonly viral_score: number }[];
  };
}

export interface Idea {
  readonly title: string;
  readonly viral_score: number;
  /** How much higher than the draft's score. */
  readonly gain: number;
  readonly predicted_velocity: number;
  readonly velocity_interval: Prediction["velocity_interval"];
  readonly in_range: boolean;
  readonly reasons: readonly string[];
}

export interface Scored {
  readonly draft: Prediction;
  /** Smaller differences between two texts' scores mean nothing; null if texts have no effect on the score. */
  readonly smallest: number | null;
  readonly ideas: readonly Idea[];
  readonly tooClose: number;
  readonly refused: number;
}

/** Raises a `Failure` that says why the service has no scores. */
export async function scored(
  settings: Settings,
  video: Record<string, unknown>,
  titles: readonly string[],
  measured: readonly Measured[],
  signal: AbortSignal,
): Promise<Scored> {
  const info = await ask(settings, "/model/info", undefined, signal);
  const smallest: number | null = info.comparison?.viral_score ?? null;
  const changes = titles.map((title) => ({ title, explain: true }));
  const draft = await ask(settings, "/explain", { ...video, what_if: changes }, signal);
  const results: { prediction?: Prediction }[] = draft.what_if;
  const ideas = results.flatMap(({ prediction }, index) => {
    const title = titles[index];
    if (!prediction || title === undefined) return [];
    return [ideaOf(title, prediction, draft, measured)];
  });
  const better = ideas.filter(({ gain }) => smallest !== null && gain > smallest);
  return {
    draft,
    smallest,
    ideas: better.sort((a, b) => b.gain - a.gain),
    tooClose: ideas.length - better.length,
    refused: results.length - ideas.length,
  };
}

function ideaOf(title: string, prediction: Prediction, draft: Prediction, measured: readonly Measured[]): Idea {
  const { viral_score, predicted_velocity, velocity_interval, in_range } = prediction;
  const text = ({ explanation }: Prediction) =>
    explanation?.contributions.find(({ group }) => group === "text")?.viral_score ?? 0;
  const moved = text(prediction) - text(draft);
  const reasons = [
    `The words move the model's score ${moved >= 0 ? "up" : "down"} by ${Math.abs(moved).toFixed(4)}.`,
  ];
  return {
    title,
    viral_score,
    gain: Number((viral_score - draft.viral_score).toFixed(6)),
    predicted_velocity,
    velocity_interval,
    in_range,
    reasons: [...reasons, ...reasonsOf(title, measured)],
  };
}

// deno-lint-ignore no-explicit-any -- the service's OpenAPI document describes it
async function ask(settings: Settings, path: string, body: unknown, signal: AbortSignal): Promise<any> {
  const headers = new Headers({ Accept: "application/json", "Content-Type": "application/json" });
  if (settings.milesKey) headers.set("Authorization", `Bearer ${settings.milesKey}`);
  const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let response: Response;
  let text: string;
  try {
    response = await fetch(settings.milesUrl + path, { ...post, headers, signal, redirect: "error" });
    text = await textOf(response, MAX_ANSWER);
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw error;
    throw new Failure(503, "Miles does not answer: check MILES_URL, or try again in a minute.", 60);
  }
  const isJson = response.headers.get("Content-Type")?.includes("json") ?? false;
  if (response.ok && isJson) return JSON.parse(text);
  const detail = isJson ? JSON.parse(text).detail : undefined;
  if (response.status === 422) throw new Failure(422, String(detail));
  if (response.status === 429 || response.status >= 500 || response.ok) {
    const seconds = Number(response.headers.get("Retry-After")) || 60;
    throw new Failure(503, detail ?? `Miles is asleep or starting: try again in ${seconds} s.`, seconds);
  }
  throw new Failure(
    502,
    `Miles answered ${response.status} to ${path}${detail ? `: ${detail}` : ""}. Check MILES_URL and MILES_API_KEY.`,
  );
}
