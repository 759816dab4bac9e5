import assert from "node:assert/strict";
import { test } from "node:test";

import { Deadline } from "../src/deadline.ts";
import { valuesOf } from "../src/lines.ts";

async function valuesIn(text: string, size: number): Promise<unknown[]> {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let from = 0; from < bytes.length; from += size) controller.enqueue(bytes.slice(from, from + size));
      controller.close();
    },
  });
  const deadline = new Deadline(10_000);
  const found: unknown[] = [];
  for await (const value of valuesOf(body, deadline)) found.push(value);
  deadline.end();
  return found;
}

for (const size of [1, 3, 1000]) {
  test(`lines are whole, however they arrive: pieces of ${String(size)} bytes`, async () => {
    assert.deepEqual(await valuesIn('{"a":"žlutý 🎬"}\n\n{"b":2}\n{"c":3}', size), [{ a: "žlutý 🎬" }, { b: 2 }, { c: 3 }]);
  });
}

test("a slow reader's own time does not count against the deadline", async () => {
  const deadline = new Deadline(60);
  const body = new Blob(["1\n2\n"]).stream();
  for await (const value of valuesOf(body, deadline)) {
    await new Promise((resolve) => setTimeout(resolve, 120));
    assert.equal(deadline.signal.aborted, false, `while ${String(value)} is read`);
  }
});
