// Writes src/schema.ts: the schemas of ../openapi.json as types. With --check it only compares.
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";

const target = new URL("src/schema.ts", import.meta.url);
// A schema's title repeats its name. The routes are the client's methods: their types would have no user.
const withoutTitle = (key, value) => (key === "title" && typeof value === "string" ? undefined : value);
const document = JSON.parse(readFileSync(new URL("../openapi.json", import.meta.url), "utf8"), withoutTitle);
const types = await openapiTS({ ...document, paths: {} }, { alphabetize: true, defaultNonNullable: false });
const text = COMMENT_HEADER + astToString(types);
if (!process.argv.includes("--check")) writeFileSync(target, text);
else if (readFileSync(target, "utf8") !== text) throw new Error("src/schema.ts differs: run make openapi");
