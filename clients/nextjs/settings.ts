// What .env.local says, read when it is needed: one build serves in every environment.

/** Where the server finds the service, and its key; never sent to a browser. */
export function serverSettings(): { url: string | undefined; apiKey: string | undefined } {
  const { MILES_URL, MILES_API_KEY } = process.env;
  return { url: MILES_URL || undefined, apiKey: MILES_API_KEY || undefined };
}

/** Where the server finds the Supabase function of clients/supabase. */
export function recommendUrl(): string | undefined {
  const { RECOMMEND_URL } = process.env;
  return RECOMMEND_URL || undefined;
}

/** Where a browser may call the service itself. Taken apart like this, because Next.js would else fix it at build. */
export function publicUrl(): string | undefined {
  const { NEXT_PUBLIC_MILES_URL } = process.env;
  return NEXT_PUBLIC_MILES_URL || undefined;
}
