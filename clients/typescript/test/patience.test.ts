import assert from "node:assert/strict";
import { test } from "node:test";

import { retryAfterMs } from "../src/answers.ts";
import { AsleepError, Miles, ProblemError, TimeoutError, UnexpectedAnswerError, UnreachableError } from "../src/index.ts";
import type { Wait } from "../src/index.ts";
import { hostOf, problem, silence, waitingPage } from "./host.ts";

const video = { title: "How do planes stay up?" };
const quick = { wakeWaitsMs: [1, 2, 3, 4] };
const overloaded = "urn:miles:problem:overloaded";

const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => assert.fail("it was answered"),
    (error: unknown) => error,
  );

for (const status of [200, 502, 503]) {
  test(`a sleeping Space's page with status ${String(status)} is waited out and reported`, async (context) => {
    const host = await hostOf(context, [waitingPage(status), waitingPage(status)]);
    const waits: [string, number, number][] = [];
    const onWaking = ({ reason, attempt, waitMs }: Wait<string>) => waits.push([reason, attempt, waitMs]);
    const prediction = await new Miles({ url: host.url, ...quick, onWaking }).predict(video);
    assert.ok(prediction.viral_score >= 0);
    assert.deepEqual(waits, [
      ["asleep", 1, 1],
      ["asleep", 2, 2],
    ]);
  });
}

test("a batch wakes the service, too", async (context) => {
  const host = await hostOf(context, [waitingPage(503)]);
  for await (const entry of new Miles({ url: host.url, ...quick }).predictBatch([video])) assert.ok(entry.prediction);
  assert.equal(host.seen.length, 2);
});

test("a Space that stays asleep is asked five times, then given up", async (context) => {
  const host = await hostOf(context, Array.from({ length: 9 }, () => waitingPage(503)));
  assert.ok((await rejection(new Miles({ url: host.url, ...quick }).predict(video))) instanceof AsleepError);
  assert.equal(host.seen.length, 5);
});

test("by default a sleeping service is asked again after 5 seconds", async (context) => {
  const host = await hostOf(context, [waitingPage(503)]);
  const controller = new AbortController();
  const waits: number[] = [];
  const onWaking = ({ waitMs }: Wait<string>) => {
    waits.push(waitMs);
    controller.abort(new Error("seen enough"));
  };
  await rejection(new Miles({ url: host.url, onWaking }).predict(video, { signal: controller.signal }));
  assert.deepEqual(waits, [5_000]);
});

test("a model that is loading is waited for, at least as long as it asks", async (context) => {
  const host = await hostOf(context, [problem(503, "about:blank", { "Retry-After": "1" })]);
  const waits: [string, number][] = [];
  const onWaking = ({ reason, waitMs }: Wait<string>) => waits.push([reason, waitMs]);
  await new Miles({ url: host.url, ...quick, onWaking }).predict(video);
  assert.deepEqual(waits, [["loading", 1000]]);
});

for (const [status, type, reason] of [
  [429, "urn:miles:problem:rate-limited", "limited"],
  [503, overloaded, "overloaded"],
] as const) {
  test(`a ${String(status)} (${reason}) is tried again after Retry-After`, async (context) => {
    const host = await hostOf(context, [problem(status, type, { "Retry-After": "1" })]);
    const waits: [string, number][] = [];
    const onRetry = (wait: Wait<string>) => waits.push([wait.reason, wait.waitMs]);
    await new Miles({ url: host.url, onRetry }).predict(video);
    assert.deepEqual(waits, [[reason, 1000]]);
  });
}

test("retries are bounded", async (context) => {
  const host = await hostOf(context, Array.from({ length: 9 }, () => problem(503, overloaded, { "Retry-After": "0" })));
  const error = await rejection(new Miles({ url: host.url }).predict(video, { retries: 2 }));
  assert.ok(error instanceof ProblemError && error.status === 503);
  assert.equal(host.seen.length, 3);
});

test("a Retry-After beyond the bound is reported, not waited for", async (context) => {
  const host = await hostOf(context, [problem(429, "urn:miles:problem:rate-limited", { "Retry-After": "61" })]);
  const error = await rejection(new Miles({ url: host.url }).predict(video));
  assert.ok(error instanceof ProblemError && error.retryAfterMs === 61_000);
  assert.equal(host.seen.length, 1);
});

test("a refused request is never repeated, and its problem, fields and request id are in the error", async (context) => {
  const host = await hostOf(context);
  const error = await rejection(new Miles({ url: host.url, ...quick }).predict({ title: "" }));
  assert.ok(error instanceof ProblemError);
  assert.equal(error.status, 422);
  assert.equal(error.problem.errors?.[0]?.["field"], "title");
  assert.ok(error.requestId && error.problem.instance.endsWith(error.requestId));
  assert.equal(host.seen.length, 1);
});

test("a page with a 404 is a wrong URL, which is not waited for", async (context) => {
  const host = await hostOf(context, [waitingPage(404)]);
  const error = await rejection(new Miles({ url: host.url, ...quick }).predict(video));
  assert.ok(error instanceof UnexpectedAnswerError);
  assert.equal(host.seen.length, 1);
});

test("a redirect names the address to use, and is not waited for", async (context) => {
  const host = await hostOf(context, [(answer) => answer.writeHead(301, { Location: "https://there.test/" }).end()]);
  const error = await rejection(new Miles({ url: host.url, ...quick }).predict(video));
  assert.ok(error instanceof UnexpectedAnswerError);
  assert.match(error.message, /a redirect to https:\/\/there\.test\//);
  assert.equal(host.seen.length, 1);
});

test("a timeout has its own error after the last wait", async (context) => {
  const host = await hostOf(context, [silence, silence]);
  const error = await rejection(new Miles({ url: host.url, timeoutMs: 50, wakeWaitsMs: [1] }).predict(video));
  assert.ok(error instanceof TimeoutError);
  assert.equal(host.seen.length, 2);
});

test("an unreachable address has its own error, with fetch's as its cause", async () => {
  const error = await rejection(new Miles({ url: "http://127.0.0.1:9", wakeWaitsMs: [] }).predict(video));
  assert.ok(error instanceof UnreachableError && error.cause instanceof TypeError);
});

test("aborting ends a request that is under way, with the signal's reason", async (context) => {
  const controller = new AbortController();
  const host = await hostOf(context, [
    () => {
      controller.abort(new Error("closed the tab"));
    },
  ]);
  const error = await rejection(new Miles({ url: host.url }).predict(video, { signal: controller.signal }));
  assert.equal(error, controller.signal.reason);
});

for (const [when, act] of [
  ["as it begins", (abort: () => void) => { abort(); }],
  ["later", (abort: () => void) => { setTimeout(abort); }],
] as const) {
  test(`aborting ends a wait at once: ${when}`, async (context) => {
    const host = await hostOf(context, [waitingPage(503)]);
    const controller = new AbortController();
    const onWaking = () => {
      act(() => {
        controller.abort();
      });
    };
    const miles = new Miles({ url: host.url, wakeWaitsMs: [3_600_000], onWaking });
    const error = await rejection(miles.predict(video, { signal: controller.signal }));
    assert.equal((error as Error).name, "AbortError");
    assert.equal(host.seen.length, 1);
  });
}

test("Retry-After is seconds or a date, and anything else is ignored", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  const read = (value: string) => retryAfterMs(new Headers({ "Retry-After": value }), now);
  assert.equal(read("7"), 7000);
  assert.equal(read("Thu, 01 Jan 2026 00:00:30 GMT"), 30_000);
  assert.equal(read("Wed, 31 Dec 2025 00:00:00 GMT"), 0);
  assert.equal(read("soon"), undefined);
});
