// Refusals of this site's own routes, as problem details.
import type { Problem } from "miles-client";

export function problem(status: number, title: string, detail: string): Problem {
  return { type: "about:blank", title, status, detail, instance: `urn:uuid:${crypto.randomUUID()}` };
}

export function answer(details: Problem, retryAfterMs?: number): Response {
  const headers = new Headers({ "Content-Type": "application/problem+json" });
  if (retryAfterMs !== undefined) headers.set("Retry-After", String(Math.ceil(retryAfterMs / 1000)));
  return new Response(JSON.stringify(details), { status: details.status, headers });
}

/** Other sites' pages must not use the key behind these routes; browsers always say where a call comes from. */
export function refusalOfStrangers(request: Request): Response | undefined {
  if (request.headers.get("Sec-Fetch-Site") === "same-origin") return undefined;
  return answer(problem(403, "Forbidden", "Only this site's own pages may use this route."));
}
