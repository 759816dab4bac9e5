// A client that openapi-fetch makes from the OpenAPI document, against a real service with an API key.
import assert from "node:assert/strict";
import test from "node:test";

import createClient from "openapi-fetch";

import { required } from "./required.ts";
import type { paths } from "./routes.ts"; // written by npm run check

const baseUrl = required("MILES_GUARDED_URL");
const headers = { Authorization: `Bearer ${required("MILES_GUARDED_KEY")}` };
const miles = createClient<paths>({ baseUrl, headers });
const body = { title: "How do planes stay up?", published_at: "2026-03-01T12:00:00Z" };

test("predict answers with typed scores", async () => {
  const { data } = await miles.POST("/predict", { body });
  assert.ok(data);
  assert.ok(data.viral_score >= 0 && data.predicted_velocity >= 0 && data.modalities.text.state === "used");
});

test("predictBatch tells scores from problems", async () => {
  const { data } = await miles.POST("/predict/batch", { body: { videos: [body, { title: "" }] } });
  assert.ok(typeof data === "object", "a string where lines are asked for");
  assert.deepEqual(data.predictions.map((entry) => ("error" in entry ? entry.error.status : 200)), [200, 422]);
});

test("explain answers each change", async () => {
  const { data } = await miles.POST("/explain", { body: { ...body, what_if: [{ title: "Planes" }] } });
  assert.equal(data?.what_if.length, 1);
});

test("modelInfo is typed", async () => {
  const { data } = await miles.GET("/model/info");
  assert.equal(data?.limits.max_batch_videos, 256);
  assert.ok(data.features.every(({ unit }) => unit));
});

test("a missing key is a problem with a detail", async () => {
  const { error, response } = await createClient<paths>({ baseUrl }).POST("/predict", { body });
  assert.equal(response.status, 401);
  assert.ok(error && "detail" in error && error.detail);
});
