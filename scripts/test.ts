/**
 * Runs the tests with Node's own runner. Arguments are file patterns; none means all but the suites
 * that need more than the npm registry, which have scripts of their own.
 */

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";

/** Ends a test that hangs, ms. The longest take a minute; a machine with much else to do takes many times that. */
const TEST_TIMEOUT_MS = 900_000;

const root = path.dirname(import.meta.dirname);
const patterns = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const flags = process.argv.slice(2).filter((arg) => arg.startsWith("--"));
const files = globSync(
  patterns.length > 0 ? patterns : ["tests/**/*.test.ts", "examples/**/*.test.ts"],
  {
    cwd: root,
    // These need more than npm has: they have scripts of their own.
    exclude: (name) => /node_modules|tests.(?:interop|docker)/.test(name),
  },
).sort();
if (files.length === 0) {
  console.error(`No test file matches ${patterns.join(" ")}.`);
  process.exit(1);
}
const result = spawnSync(
  process.execPath,
  ["--test", `--test-timeout=${TEST_TIMEOUT_MS}`, "--test-reporter=spec", ...flags, ...files],
  { cwd: root, stdio: "inherit" },
);
process.exit(result.status ?? 1);
