// Against a service that has only just been started (MILES_STARTING_URL).
import assert from "node:assert/strict";
import { test } from "node:test";

import { Miles } from "../src/index.ts";
import { required } from "./required.ts";

test("a service that is starting is waited for, and then scores", async () => {
  const reasons: string[] = [];
  const miles = new Miles({
    url: required("MILES_STARTING_URL"),
    wakeWaitsMs: Array.from({ length: 600 }, () => 100),
    onWaking: ({ reason }) => reasons.push(reason),
  });
  assert.equal((await miles.wake()).model_loaded, true);
  assert.ok((await miles.predict({ title: "good morning" })).viral_score >= 0);
  assert.ok(reasons.length > 0 && reasons.every((reason) => ["unreachable", "loading", "asleep"].includes(reason)));
});
