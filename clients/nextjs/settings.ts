// The settings in .env.local, read at run time: one build works in every environment.

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

/** Where a browser may call the service itself. Destructured: Next.js would otherwise inline it at build time. */
export function publicUrl(): string | undefined {
  const { NEXT_PUBLIC_MILES_URL } = process.env;
  return NEXT_PUBLIC_MILES_URL || undefined;
}
