// Passes a user's question to the Supabase function, with the user's own token.
import { recommendUrl } from "../../../settings.ts";
import { answer, problem, refusalOfStrangers } from "../problems.ts";

const MAX_BODY = 20_000; // characters
const TIMEOUT_MS = 60_000;

export async function POST(request: Request): Promise<Response> {
  const refusal = refusalOfStrangers(request);
  if (refusal) return refusal;
  const url = recommendUrl();
  if (!url) return answer(problem(500, "Not configured", "RECOMMEND_URL is not set on the server; see .env.example."));
  const body = await request.text();
  if (body.length > MAX_BODY) return answer(problem(413, "Content Too Large", "Send a shorter topic and title."));
  const headers = { "Content-Type": "application/json", Authorization: request.headers.get("Authorization") ?? "" };
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "error", cache: "no-store" });
    const kept = ["Content-Type", "Retry-After"].flatMap((name) => {
      const value = response.headers.get(name);
      return value === null ? [] : [[name, value] as [string, string]];
    });
    return new Response(response.body, { status: response.status, headers: kept });
  } catch {
    return answer(problem(503, "No ideas", "The function does not answer: check RECOMMEND_URL, or try again."));
  }
}
