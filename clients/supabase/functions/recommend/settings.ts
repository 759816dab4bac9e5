// The function's environment: `supabase secrets set NAME=value`. Supabase sets SUPABASE_URL and SUPABASE_ANON_KEY.
import { Failure } from "./problems.ts";

export interface LanguageModel {
  readonly api: "openai" | "anthropic";
  /** With the version, such as https://api.openai.com/v1. */
  readonly url: string;
  readonly key: string | undefined;
  readonly model: string;
}

export interface Settings {
  readonly supabaseUrl: string;
  readonly supabaseKey: string;
  readonly milesUrl: string;
  readonly milesKey: string | undefined;
  readonly table: string;
  /** Without one, ideas come from rules. */
  readonly languageModel: LanguageModel | undefined;
  readonly totalMs: number;
}

/** Raises a `Failure` that names a setting that is missing or wrong. */
export function settingsIn(environment: { get(name: string): string | undefined }): Settings {
  const read = (name: string) => environment.get(name)?.trim() || undefined;
  const required = (name: string) => {
    const value = read(name);
    if (!value) throw new Failure(500, `${name} is not set for this function: supabase secrets set ${name}=...`);
    return value;
  };
  return {
    supabaseUrl: required("SUPABASE_URL"),
    supabaseKey: required("SUPABASE_ANON_KEY"),
    milesUrl: required("MILES_URL").replace(/\/+$/, ""),
    milesKey: read("MILES_API_KEY"),
    table: read("RECOMMEND_TABLE") ?? "candidates",
    languageModel: languageModelIn(read),
    totalMs: secondsIn(read, "RECOMMEND_TIMEOUT_S", 30) * 1000,
  };
}

function languageModelIn(read: (name: string) => string | undefined): LanguageModel | undefined {
  const url = read("LANGUAGE_MODEL_URL");
  if (!url) return undefined;
  const model = read("LANGUAGE_MODEL");
  const api = read("LANGUAGE_MODEL_API") ?? "openai";
  if (!model) throw new Failure(500, "LANGUAGE_MODEL is not set: the name of a model at LANGUAGE_MODEL_URL");
  if (api !== "openai" && api !== "anthropic") {
    throw new Failure(500, `LANGUAGE_MODEL_API is ${api}, expected openai or anthropic`);
  }
  return { api, url: url.replace(/\/+$/, ""), key: read("LANGUAGE_MODEL_KEY"), model };
}

function secondsIn(read: (name: string) => string | undefined, name: string, otherwise: number): number {
  const value = Number(read(name) ?? otherwise);
  if (!(value > 0 && value <= 120)) throw new Failure(500, `${name} is ${read(name)}, expected seconds up to 120`);
  return value;
}
