// Errors as problem details (RFC 9457), and answers of other services read with a limit.

/** Ends a request with this status; `message` says what to do. */
export class Failure extends Error {
  constructor(readonly status: number, message: string, readonly retryAfterS?: number) {
    super(message);
  }
}

export function problem({ status, message, retryAfterS }: Failure): Response {
  const headers = new Headers({ "Content-Type": "application/problem+json" });
  if (retryAfterS !== undefined) headers.set("Retry-After", String(retryAfterS));
  const body = {
    type: "about:blank",
    title: TITLES[status] ?? "Error",
    status,
    detail: message,
    instance: `urn:uuid:${crypto.randomUUID()}`,
  };
  return new Response(JSON.stringify(body), { status, headers });
}

const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  405: "Method Not Allowed",
  413: "Content Too Large",
  422: "Unprocessable Content",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** The text of a request or an answer; raises a `Failure` beyond `limit` bytes. */
export async function textOf(message: Request | Response, limit: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of message.body ?? []) {
    size += piece.byteLength;
    if (size > limit) throw new Failure(413, `more than ${limit} bytes`);
    pieces.push(piece);
  }
  return await new Blob(pieces as Uint8Array<ArrayBuffer>[]).text();
}
