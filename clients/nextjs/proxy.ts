// The page's Content-Security-Policy, with a new nonce for every response.
import { NextResponse, type NextRequest } from "next/server";

import { publicUrl } from "./settings.ts";

export function proxy(request: NextRequest): NextResponse {
  const policy = policyFor(crypto.randomUUID());
  const headers = new Headers(request.headers);
  headers.set("Content-Security-Policy", policy); // where Next.js looks for the nonce of its own scripts
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("Content-Security-Policy", policy);
  response.headers.set("Referrer-Policy", "same-origin");
  response.headers.set("X-Content-Type-Options", "nosniff");
  return response;
}

export const config = { matcher: ["/", "/ideas"] };

function policyFor(nonce: string): string {
  const development = process.env.NODE_ENV === "development"; // it uses eval and inline styles
  const service = publicUrl();
  return [
    "default-src 'none'",
    `script-src 'nonce-${nonce}' 'strict-dynamic'${development ? " 'unsafe-eval'" : ""}`,
    `style-src 'self'${development ? " 'unsafe-inline'" : ""}`,
    "img-src 'self' https: data:",
    `connect-src 'self'${service ? ` ${new URL(service).origin}` : ""}${development ? " ws:" : ""}`,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
}
