import assert from "node:assert/strict";
import { test } from "node:test";

import { IncompleteBatchError, Miles, type BatchEntry, type Video } from "../src/index.ts";
import { brokenAfterFirstPiece, hostOf, MILES_URL } from "./host.ts";

const miles = new Miles({ url: `${MILES_URL}/` });

async function all(entries: AsyncIterable<BatchEntry>): Promise<BatchEntry[]> {
  const found: BatchEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

test("a video gets its score", async () => {
  const prediction = await miles.predict({ title: "How do planes stay up?", view_count: 15_000 });
  assert.ok(prediction.viral_score >= 0 && prediction.viral_score <= 1);
  assert.equal(prediction.modalities.text.state, "used");
  assert.equal(prediction.modalities.image.state, "missing");
  assert.equal(prediction.timings_ms, undefined);
});

test("a database row with nulls, and with columns that are not fields, is scored", async () => {
  const row = { id: 7, title: "morning routine", description: null, thumbnail_url: null, view_count: null, tags: [] };
  assert.ok((await miles.predict(row)).predicted_velocity >= 0);
});

test("timings come when they are asked for", async () => {
  const { timings_ms } = await miles.predict({ title: "timed" }, { timings: true });
  assert.ok(timings_ms && timings_ms.total >= timings_ms.fusion);
});

test("each video of a batch has one entry, and a bad one its own problem", async () => {
  const videos = [{ title: "first" }, { title: "" }, { title: "third" }];
  const entries = await all(miles.predictBatch(videos));
  assert.deepEqual(entries.map(({ index }) => index).sort(), [0, 1, 2]);
  assert.equal(entries[0]?.index, 1, "refusals come first: entries come in order of arrival");
  assert.equal(entries[0].error?.status, 422);
  assert.ok(entries.slice(1).every((entry) => entry.prediction));
});

test("a batch scores a video as a single call does", async () => {
  const video = { title: "GOAL OF THE YEAR", view_count: 9_000, observed_at: "2018-02-01T00:00:00Z" };
  const [entry] = await all(miles.predictBatch([video]));
  assert.equal(entry?.prediction?.viral_score, (await miles.predict(video)).viral_score);
});

test("more videos than a batch holds are sent in several requests, under their own indices", async (context) => {
  const host = await hostOf(context);
  const videos: Video[] = Array.from({ length: 257 }, (_, index) => ({ title: "same", view_count: index }));
  const entries = await all(new Miles({ url: host.url }).predictBatch(videos));
  assert.equal(host.seen.length, 2);
  assert.deepEqual(new Set(entries.map(({ index }) => index)), new Set(videos.keys()));
});

test("no videos make no request", async (context) => {
  const host = await hostOf(context);
  assert.deepEqual(await all(new Miles({ url: host.url }).predictBatch([])), []);
  assert.deepEqual(host.seen, []);
});

test("a stream that breaks says which videos have no entry", async (context) => {
  const host = await hostOf(context, [brokenAfterFirstPiece]);
  const entries: BatchEntry[] = [];
  const broken = async () => {
    const videos = Array.from({ length: 20 }, (_, index) => ({ title: `broken ${String(index)}` }));
    for await (const entry of new Miles({ url: host.url }).predictBatch(videos)) entries.push(entry);
  };
  const error = await broken().catch((reason: unknown) => reason);
  assert.ok(error instanceof IncompleteBatchError);
  assert.ok(entries.length >= 1);
  assert.equal(entries.length + error.missing.length, 20);
  assert.ok(!error.missing.includes(entries[0]?.index ?? -1));
});

test("a stream that ends early without an error says so, too", async (context) => {
  const host = await hostOf(context, [
    (answer) => {
      answer.writeHead(200, { "Content-Type": "application/x-ndjson" }).end('{"index":1,"error":{"status":422}}\n');
    },
  ]);
  const videos = [{ title: "a" }, { title: "b" }];
  const error = await all(new Miles({ url: host.url }).predictBatch(videos)).catch((reason: unknown) => reason);
  assert.ok(error instanceof IncompleteBatchError);
  assert.deepEqual(error.missing, [0]);
});

test("leaving the loop closes the connection", async (context) => {
  let closed: () => void = () => undefined;
  const whenClosed = new Promise<void>((resolve) => (closed = resolve));
  const host = await hostOf(context, [
    (answer) => {
      answer.on("close", closed);
      answer.writeHead(200, { "Content-Type": "application/x-ndjson" });
      answer.write('{"index":0,"error":{"status":422}}\n');
    },
  ]);
  for await (const entry of new Miles({ url: host.url }).predictBatch([{ title: "a" }, { title: "b" }])) {
    assert.equal(entry.index, 0);
    break;
  }
  await whenClosed;
});

test("a score is explained by parts that add up, and by the scores of changed videos", async () => {
  const video = { title: "How do planes stay up?", view_count: 15_000 };
  const { viral_score, explanation, what_if } = await miles.explain(video, [{ view_count: 1_500_000 }, { title: "" }]);
  const parts = explanation.contributions.reduce((sum, part) => sum + part.viral_score, 0);
  assert.ok(Math.abs(explanation.baseline.viral_score + parts - viral_score) < 1e-4);
  const [changed, refused] = what_if;
  assert.ok(changed && "prediction" in changed);
  assert.deepEqual(changed.changes, { view_count: 1_500_000 });
  assert.ok(refused && "error" in refused && refused.error.status === 422);
});

test("a single score and a batch are explained where that is asked for", async () => {
  const video = { title: "explained", explain: true };
  assert.ok((await miles.predict(video)).explanation?.contributions.length);
  for await (const entry of miles.predictBatch([video])) assert.ok(entry.prediction?.explanation);
});

test("the model says what it is, and that it can score", async () => {
  assert.ok("architecture" in (await miles.modelInfo()));
  assert.equal((await miles.health()).model_loaded, true);
});
