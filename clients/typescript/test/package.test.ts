// The built package, as another project imports it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Miles } from "miles-client";

test("the built package is imported by its name", () => {
  assert.equal(new Miles({ url: "http://localhost:7860//" }).url, "http://localhost:7860");
});
