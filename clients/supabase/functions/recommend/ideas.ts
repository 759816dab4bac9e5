// Title ideas: by rules from the patterns, or from a language model's text, which is checked like any input.
import { type Measured, type Pattern, PATTERNS } from "./patterns.ts";

export const MAX_IDEAS = 12; // the service scores at most 16 changes in one call
const MIN_LENGTH = 3;
export const MAX_LENGTH = 100;

/**
 * Ideas by rules: the draft with each pattern that it lacks, those first that clearly help, then with two of them.
 * Patterns that clearly go with fewer views are left out.
 */
export function ideasByRules(draft: string, topic: string, measured: readonly Measured[]): string[] {
  const found = ({ name }: Pattern) => measured.find((each) => each.name === name);
  const lacking = PATTERNS.filter((pattern) => !pattern.has(draft) && !((found(pattern)?.high ?? 1) < 1));
  const helps = (pattern: Pattern) => (found(pattern)?.low ?? 0) > 1;
  const chosen = [...lacking.filter(helps), ...lacking.filter((pattern) => !helps(pattern))];
  const single = chosen.map(({ apply }) => apply(draft, topic));
  const double = chosen.flatMap((first, index) =>
    chosen.slice(index + 1).map((second) => second.apply(first.apply(draft, topic), topic))
  );
  return usable([...single, ...double], draft);
}

/** Ideas in a language model's text: the strings of its JSON list. */
export function ideasIn(text: string, draft: string): string[] {
  const list = text.match(/\[[^]*\]/)?.[0] ?? "[]";
  try {
    const values: unknown = JSON.parse(list);
    return usable(Array.isArray(values) ? values.filter((value) => typeof value === "string") : [], draft);
  } catch {
    return [];
  }
}

/** Different titles without control characters and addresses, at most `MAX_IDEAS`. */
function usable(titles: readonly string[], draft: string): string[] {
  const clean = titles.map((title) => title.replace(/[\p{C}\s]+/gu, " ").trim());
  const fits = (title: string) =>
    title.length >= MIN_LENGTH && title.length <= MAX_LENGTH && !/https?:|www\.|\S+@\S+\.\S/i.test(title);
  return [...new Set(clean.filter((title) => fits(title) && title !== draft))].slice(0, MAX_IDEAS);
}
