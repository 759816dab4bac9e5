// Writes src/schema.ts: the schemas of ../openapi.json that src/types.ts names, and those that they use, as types.
// With --check it only compares.
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
// A schema's title repeats its name.
const withoutTitle = (key, value) => (key === "title" && typeof value === "string" ? undefined : value);
const { components, ...document } = JSON.parse(read("../openapi.json"), withoutTitle);
const schemas = {};
const keep = (name) => {
  if (name in schemas) return;
  schemas[name] = components.schemas[name];
  for (const [, used] of JSON.stringify(schemas[name]).matchAll(/#\/components\/schemas\/(\w+)"/g)) keep(used);
};
for (const [, name] of read("src/types.ts").matchAll(/Schemas\["(\w+)"\]/g)) keep(name);
const options = { alphabetize: true, defaultNonNullable: false };
const types = await openapiTS({ ...document, paths: {}, components: { schemas } }, options);
const text = COMMENT_HEADER + astToString(types);
if (!process.argv.includes("--check")) writeFileSync(new URL("src/schema.ts", import.meta.url), text);
else if (read("src/schema.ts") !== text) throw new Error("src/schema.ts differs: run make openapi");
