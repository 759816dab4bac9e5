// Title ideas that the model rates clearly higher than a draft: see ../../README.md.
import { handle } from "./handler.ts";

Deno.serve(handle);
