// How patterns in a topic's titles go with views a day: measured on its rows, with an interval.
import { cut } from "./ideas.ts";
import type { Row } from "./rows.ts";

export interface Pattern {
  readonly name: string;
  /** Ends the sentence "The title ...". */
  readonly words: string;
  readonly has: (title: string) => boolean;
  /** The title with the pattern, for ideas by rules. */
  readonly apply: (title: string, topic: string) => string;
}

/** Titles with the pattern get `factor` times the views a day of those without; `low` to `high` is its interval. */
export interface Measured {
  readonly name: string;
  readonly factor: number;
  readonly low: number;
  readonly high: number;
  readonly with: number;
  readonly without: number;
  /** Whether the interval lies on one side of 1. */
  readonly clear: boolean;
}

export const MIN_ROWS = 10; // on each side; fewer are not enough
// Two-sided 5 % over eleven patterns (Bonferroni): the quantile of the normal distribution at 1 - .05 / 22.
const Z = 2.8376;

export const PATTERNS: readonly Pattern[] = [
  { name: "number", words: "has a number", has: (title) => /\d/.test(title), apply: (title) => `Day 1: ${title}` },
  {
    name: "question",
    words: "asks a question",
    has: (title) => title.includes("?"),
    apply: (title) => `${bare(title)}?`,
  },
  {
    name: "how_to",
    words: "says how to do it",
    has: (title) => /\bhow to\b/i.test(title),
    apply: (title, topic) => `How to ${topic}: ${title}`,
  },
  {
    name: "exclamation",
    words: "has an exclamation mark",
    has: (title) => title.includes("!"),
    apply: (title) => `${bare(title)}!`,
  },
  {
    name: "capitals",
    words: "has a word in capitals",
    has: (title) => /\b\p{Lu}{4,}\b/u.test(title),
    apply: (title) => title.replace(/\p{L}{4,}/u, (word) => word.toUpperCase()),
  },
  {
    name: "emoji",
    words: "has an emoji",
    has: (title) => /\p{Extended_Pictographic}/u.test(title),
    apply: (title) => `${title} 🔥`,
  },
  {
    name: "hashtag",
    words: "has a hashtag",
    has: (title) => /#\p{L}/u.test(title),
    apply: (title, topic) => `${title} #${topic.replace(/[^\p{L}\p{N}]/gu, "")}`,
  },
  {
    name: "first_person",
    words: "is in the first person",
    has: (title) => /\b(i|my|me|we|our)\b/i.test(title),
    apply: (title) => `I tried it: ${title}`,
  },
  {
    name: "second_person",
    words: "addresses the viewer",
    has: (title) => /\b(you|your)\b/i.test(title),
    apply: (title) => `${bare(title)} you should see`,
  },
  {
    name: "brackets",
    words: "has brackets",
    has: (title) => /[([]/.test(title),
    apply: (title) => `${title} (full story)`,
  },
  {
    name: "short",
    words: "has at most 40 characters",
    has: (title) => [...title].length <= 40,
    apply: (title) => cut(title, 40).replace(/\s+\S*$/, ""),
  },
];

const bare = (title: string) => title.replace(/[\s.?!]+$/, "");

/** Each pattern with at least `MIN_ROWS` titles that have it and `MIN_ROWS` that do not. */
export function measure(rows: readonly Row[]): Measured[] {
  return PATTERNS.flatMap(({ name, has }) => {
    const groups: [number[], number[]] = [[], []];
    for (const { title, velocity } of rows) groups[has(title) ? 0 : 1].push(Math.log1p(velocity));
    const [inside, outside] = groups;
    if (Math.min(inside.length, outside.length) < MIN_ROWS) return [];
    const [low, middle, high] = welch(inside, outside).map(Math.exp) as [number, number, number];
    const clear = low > 1 || high < 1;
    return [{ name, factor: middle, low, high, with: inside.length, without: outside.length, clear }];
  });
}

/** Welch's interval for the difference between two means: low, middle, high. */
function welch(first: readonly number[], second: readonly number[]): [number, number, number] {
  const [one, other] = [momentsOf(first), momentsOf(second)];
  const variance = one.error + other.error;
  const freedom = variance ** 2 / (one.error ** 2 / (first.length - 1) + other.error ** 2 / (second.length - 1));
  const reach = variance > 0 ? quantile(freedom) * Math.sqrt(variance) : 0;
  const middle = one.mean - other.mean;
  return [middle - reach, middle, middle + reach];
}

function momentsOf(values: readonly number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, error: squares / (values.length - 1) / values.length };
}

/** Student's quantile from the normal one (Abramowitz and Stegun, 26.7.5, two terms). */
function quantile(freedom: number): number {
  return Z + (Z ** 3 + Z) / (4 * freedom) + (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / (96 * freedom ** 2);
}

/** What was measured for a title's patterns, as sentences. */
export function reasonsOf(title: string, measured: readonly Measured[]): string[] {
  return PATTERNS.flatMap(({ name, words, has }) => {
    const found = measured.find((each) => each.name === name);
    if (!found?.clear || found.low < 1 || !has(title)) return [];
    const interval = `${found.low.toFixed(1)} to ${found.high.toFixed(1)}`;
    const rows = `${found.with} titles with and ${found.without} without`;
    return [
      `The title ${words}: in this topic such titles get ${
        found.factor.toFixed(1)
      } times the views a day (${interval}; ${rows}).`,
    ];
  });
}
