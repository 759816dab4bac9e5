// Title ideas: by rules from the patterns, or from a language model's text, which is checked like any input.
import { type Measured, type Pattern, PATTERNS } from "./patterns.ts";

export const MAX_IDEAS = 12; // the service scores at most 16 changes in one call
const MIN_LENGTH = 3;
const MAX_BRACKETS = 30; // tried as the ends of a model's list
export const MAX_LENGTH = 100;

/**
 * Ideas by rules: the draft with each pattern that it lacks, starting with those that clearly help, then with pairs.
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

/** Ideas in a language model's text: the strings of its last JSON list, whatever other brackets the text has. */
export function ideasIn(text: string, draft: string): string[] {
  const places = (bracket: string) =>
    [...text.matchAll(RegExp(`\\${bracket}`, "g"))].map(({ index }) => index).slice(-MAX_BRACKETS).reverse();
  const ends = places("]");
  for (const start of places("[")) {
    for (const end of ends) {
      const ideas = usable(stringsIn(text.slice(start, end + 1)), draft);
      if (ideas.length) return ideas;
    }
  }
  return [];
}

function stringsIn(list: string): string[] {
  try {
    const values: unknown = JSON.parse(list);
    return Array.isArray(values) ? values.filter((value) => typeof value === "string") : [];
  } catch {
    return [];
  }
}

/** Text as one line, without control characters; joiners stay, which emoji and some scripts need. */
export function oneLine(text: string): string {
  return text.replace(/(?:(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\s])+/gu, " ").trim();
}

/** The first `max` characters, without cutting one in half. */
export function cut(text: string, max: number): string {
  return [...text].slice(0, max).join("");
}

/** Different titles without control characters or addresses, at most `MAX_IDEAS`. */
function usable(titles: readonly string[], draft: string): string[] {
  const clean = titles.map(oneLine);
  const fits = (title: string) =>
    title.length >= MIN_LENGTH && [...title].length <= MAX_LENGTH && !/https?:|www\.|\S+@\S+\.\S/i.test(title);
  return [...new Set(clean.filter((title) => fits(title) && title !== draft))].slice(0, MAX_IDEAS);
}
