// One request: rows of a topic, patterns, ideas, scores.
import { ideasByRules, ideasIn, oneLine } from "./ideas.ts";
import { askModel } from "./language_model.ts";
import { measure, type Measured } from "./patterns.ts";
import { Failure, problem, textOf } from "./problems.ts";
import { callersClient, keep, mayAsk, roleIn, type Row, rowsOf } from "./rows.ts";
import { type Scored, scored } from "./scoring.ts";
import { type Settings, settingsIn } from "./settings.ts";

const MAX_BODY = 20_000; // bytes
const MAX_TOPIC = 60;
const MAX_TITLE = 100;
// The fields of a draft video that are sent to the service along with its title.
const FIELDS = [
  "description",
  "duration_seconds",
  "published_at",
  "observed_at",
  "view_count",
  "like_count",
  "comment_count",
];

interface Question {
  readonly topic: string;
  readonly draft: string;
  readonly video: Record<string, unknown>;
  readonly keep: boolean;
}

export async function handle(request: Request): Promise<Response> {
  try {
    if (request.method !== "POST") throw new Failure(405, "Send POST with topic and title.");
    const authorization = request.headers.get("Authorization") ?? "";
    if (!authorization.startsWith("Bearer ")) {
      throw new Failure(401, "Sign in and send the access token as a bearer token.");
    }
    const settings = settingsIn(Deno.env);
    const question = questionIn(await textOf(request, MAX_BODY));
    return await answered(question, settings, authorization, AbortSignal.timeout(settings.totalMs));
  } catch (error) {
    if (error instanceof Failure) return problem(error);
    if (error instanceof DOMException && error.name === "TimeoutError") {
      return problem(new Failure(504, "No ideas in time: try again, or raise RECOMMEND_TIMEOUT_S.", 10));
    }
    console.error(error);
    return problem(new Failure(500, "The function failed; its log says why."));
  }
}

async function answered(
  { topic, draft, video, keep: isKept }: Question,
  settings: Settings,
  authorization: string,
  signal: AbortSignal,
): Promise<Response> {
  const client = callersClient(settings, authorization, signal);
  const rows = await rowsOf(client, settings.table, topic); // PostgREST checks the token
  signal.throwIfAborted();
  if (roleIn(authorization) !== "authenticated") {
    throw new Failure(401, "Sign in: ideas are for users with an account.");
  }
  const measured = measure(rows);
  const notes: string[] = [];
  const { ideas, source } = await ideasFrom(
    { draft, topic, rows, measured },
    settings,
    () => mayAsk(client),
    notes,
    signal,
  );
  const result = await scored(settings, { ...video, title: draft }, ideas, measured, signal);
  if (result.smallest === null) {
    notes.push("This checkpoint's scores do not depend on titles, so no idea can be better.");
  }
  const kept = isKept && result.ideas.length
    ? await keep(client, result.ideas.map((idea) => rowFor(idea, topic, result)))
    : 0;
  if (typeof kept === "string") notes.push(kept);
  return Response.json({
    topic,
    rows: rows.length,
    patterns: measured,
    draft: { title: draft, ...picked(result.draft) },
    smallest_difference: result.smallest,
    ideas: result.ideas,
    source,
    considered: ideas.length,
    too_close: result.tooClose,
    refused: result.refused,
    kept: typeof kept === "number" ? kept : 0,
    model_version: result.draft.model_version,
    notes,
  });
}

/** Ideas from the language model if there is one and it answers, else by rules; `notes` then gets the reason. */
async function ideasFrom(
  data: { draft: string; topic: string; rows: readonly Row[]; measured: readonly Measured[] },
  { languageModel }: Settings,
  isAllowed: () => Promise<true | string>,
  notes: string[],
  signal: AbortSignal,
): Promise<{ ideas: string[]; source: "language model" | "rules" }> {
  if (languageModel) {
    try {
      const allowed = await isAllowed();
      if (allowed !== true) throw new Error(allowed);
      const ideas = ideasIn(await askModel(languageModel, data, signal), data.draft);
      if (ideas.length) return { ideas, source: "language model" };
      throw new Error("no usable title in its answer");
    } catch (error) {
      signal.throwIfAborted();
      notes.push(
        `Ideas by rules, as the language model gave none: ${error instanceof Error ? error.message : "no answer"}.`,
      );
    }
  }
  return { ideas: ideasByRules(data.draft, data.topic, data.measured), source: "rules" };
}

function questionIn(text: string): Question {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Failure(400, "The body is not JSON.");
  }
  const { topic, title, video, keep } = (body ?? {}) as Record<string, unknown>;
  const given = typeof video === "object" && video !== null ? Object.entries(video) : [];
  return {
    topic: line("topic", topic, 2, MAX_TOPIC),
    draft: line("title", title, 1, MAX_TITLE),
    video: Object.fromEntries(given.filter(([name]) => FIELDS.includes(name))),
    keep: keep === true,
  };
}

function line(name: string, value: unknown, min: number, max: number): string {
  const text = typeof value === "string" ? oneLine(value) : "";
  const { length } = [...text];
  if (length < min || length > max) {
    throw new Failure(422, `${name}: expected text of ${min} to ${max} characters, got ${length}.`);
  }
  return text;
}

function picked({ viral_score, predicted_velocity, velocity_interval, in_range }: Scored["draft"]) {
  return { viral_score, predicted_velocity, velocity_interval, in_range };
}

function rowFor(idea: Scored["ideas"][number], topic: string, { draft }: Scored): Record<string, unknown> {
  const { title, viral_score, gain, predicted_velocity, velocity_interval, reasons } = idea;
  const ends = { low: velocity_interval?.low, high: velocity_interval?.high };
  return { topic, title, viral_score, gain, predicted_velocity, ...ends, reasons, model_version: draft.model_version };
}
