// Writes dist/ as ES modules and dist/cjs/ as CommonJS, for node10's resolution and Node.js before 20.19.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
rmSync(new URL("dist", import.meta.url), { recursive: true, force: true });
for (const project of ["tsconfig.build.json", "tsconfig.cjs.json"]) {
  execFileSync(process.execPath, [tsc, "--project", project], { cwd: import.meta.dirname, stdio: "inherit" });
}
writeFileSync(new URL("dist/cjs/package.json", import.meta.url), '{ "type": "commonjs" }\n');
