/** Writes the documents that are made from code: docs/CLI.md. */

import { writeFileSync } from "node:fs";
import path from "node:path";
import { cliReference } from "../src/cli/reference.ts";
import { commandTree } from "../src/cli/tree.ts";

const root = path.dirname(import.meta.dirname);
writeFileSync(path.join(root, "docs", "CLI.md"), cliReference(await commandTree()));
