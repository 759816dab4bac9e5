// The server-side call: the browser talks to this site alone, and the key stays here.
import { Miles, MilesError, ProblemError, UnexpectedAnswerError, type Video } from "miles-client";

import { serverSettings } from "../../../../settings.ts";
import { answer, problem, refusalOfStrangers } from "../../problems.ts";

export async function POST(request: Request): Promise<Response> {
  const strangers = refusalOfStrangers(request);
  if (strangers) return strangers;
  const { url, apiKey } = serverSettings();
  if (!url) return answer(problem(500, "Not configured", "MILES_URL is not set on the server; see .env.example."));
  try {
    const video = (await request.json()) as Video;
    // The browser does the waiting, so that no server function runs for minutes.
    const miles = new Miles({ url, apiKey, wakeWaitsMs: [], retries: 0 });
    return Response.json(await miles.predict(video, { signal: request.signal }));
  } catch (error) {
    return refusal(error);
  }
}

function refusal(error: unknown): Response {
  if (error instanceof ProblemError) return answer(error.problem, error.retryAfterMs);
  if (error instanceof SyntaxError) return answer(problem(400, "Bad Request", "The body is not JSON."));
  if (error instanceof UnexpectedAnswerError) {
    return answer(problem(502, "Bad Gateway", "MILES_URL is not a Miles service."));
  }
  // Asleep, starting or silent: answer as a sleeping service's host would, so that the browser waits for it.
  if (error instanceof MilesError) return new Response(error.message, { status: 503 });
  throw error;
}
