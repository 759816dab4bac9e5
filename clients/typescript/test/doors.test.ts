// Against a service with a key and a limit of two videos a minute (MILES_GUARDED_URL, MILES_GUARDED_KEY).
import assert from "node:assert/strict";
import { test } from "node:test";

import { Miles, ProblemError } from "../src/index.ts";
import { required } from "./required.ts";

const url = required("MILES_GUARDED_URL");
const apiKey = required("MILES_GUARDED_KEY");
const video = { title: "morning routine" };

test("without the key a call is refused, once; with it, it is answered, until the limit is used up", async () => {
  const refused = await new Miles({ url }).predict(video).catch((error: unknown) => error);
  assert.ok(refused instanceof ProblemError && refused.status === 401);

  const miles = new Miles({ url, apiKey, longestRetryAfterMs: 1_000 });
  for (const title of ["one", "two"]) assert.ok((await miles.predict({ title })).viral_score >= 0);
  const limited = await miles.predict(video).catch((error: unknown) => error);
  assert.ok(limited instanceof ProblemError && limited.status === 429);
  assert.ok((limited.retryAfterMs ?? 0) > 1_000);
});

test("health needs no key", async () => {
  assert.equal((await new Miles({ url }).health()).model_loaded, true);
});
