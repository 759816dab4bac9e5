// A body of newline-delimited JSON as the values of its lines.
import type { Deadline } from "./deadline.ts";

/** Each line's value as it arrives; the deadline applies to each wait. Leaving the loop closes the stream. */
export async function* valuesOf(body: ReadableStream<Uint8Array>, deadline: Deadline): AsyncGenerator {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      deadline.start();
      const { done, value } = await reader.read();
      deadline.end(); // the caller's own time does not count
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of done ? [...lines, rest] : lines) if (line.trim()) yield JSON.parse(line);
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the stream broke: its error is already being thrown
  }
}
