// The rows of a topic, read with the caller's own rights, and the ideas that the caller keeps.
import { createClient, type SupabaseClient } from "npm:@supabase/supabase-js@2.119.1";

import { cut } from "./ideas.ts";
import { Failure } from "./problems.ts";
import type { Settings } from "./settings.ts";

export const MAX_ROWS = 500;
const MIN_AGE_DAYS = 1 / 24;

export interface Row {
  readonly title: string;
  /** Views per day between publication and the scrape. */
  readonly velocity: number;
}

/** A client that acts as the caller: row-level security decides what it reads and writes. */
export function callersClient(settings: Settings, authorization: string, signal: AbortSignal): SupabaseClient {
  const bounded: typeof fetch = (input, init) => fetch(input, { ...init, signal });
  return createClient(settings.supabaseUrl, settings.supabaseKey, {
    global: { headers: { Authorization: authorization }, fetch: bounded },
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
  });
}

/** The newest rows whose title contains the topic, fastest first. */
export async function rowsOf(client: SupabaseClient, table: string, topic: string): Promise<Row[]> {
  const { data, error, status } = await client
    .from(table)
    .select("title,view_count,upload_date,scraped_at")
    .ilike("title", `%${topic.replace(/[\\%_]/g, "\\$&")}%`)
    .not("view_count", "is", null)
    .not("upload_date", "is", null)
    .order("scraped_at", { ascending: false, nullsFirst: false })
    .limit(MAX_ROWS);
  if (status === 401) throw new Failure(401, "The token is not valid: sign in again and send its access token.");
  if (error) throw new Failure(502, `The table ${table} cannot be read: ${error.message}`);
  // PostgREST reads * as a wildcard, which cannot be escaped.
  const named = data.filter(({ title }) => String(title).toLowerCase().includes(topic.toLowerCase()));
  return named.flatMap(rowOf).sort((a, b) => b.velocity - a.velocity);
}

// deno-lint-ignore no-explicit-any -- what a table holds is checked here
function rowOf({ title, view_count, upload_date, scraped_at }: any): Row[] {
  const days = (Date.parse(scraped_at) - Date.parse(upload_date)) / 86_400_000;
  if (typeof title !== "string" || !(days >= MIN_AGE_DAYS) || !(view_count >= 0)) return [];
  return [{ title: cut(title, 200), velocity: view_count / days }];
}

/** The caller's role, from a token that PostgREST has just accepted. */
export function roleIn(authorization: string): string | undefined {
  try {
    const payload = authorization.split(".")[1] ?? "";
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))).role;
  } catch {
    return undefined;
  }
}

/** Whether the caller may ask the language model once more today; else why not. */
export async function mayAsk(client: SupabaseClient): Promise<true | string> {
  const { data, error } = await client.rpc("take_recommendation_call");
  if (error) return `calls cannot be counted (${error.message}): run the migration of clients/supabase`;
  return data === true || "the 20 calls to the language model per day are used up";
}

/** Keep ideas as the caller's own rows; the number kept, or why none were. */
export async function keep(client: SupabaseClient, rows: readonly Record<string, unknown>[]): Promise<number | string> {
  const { error } = await client.from("recommendations").insert(rows);
  return error ? `not kept: ${error.message}` : rows.length;
}
