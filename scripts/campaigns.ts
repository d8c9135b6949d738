/**
 * The campaigns of the test suite, longer: 60 s of busy loop, 60 s of dying workers and rolling releases,
 * a thousand kills of the server, random histories of 5000 steps. Variables that are set already win; FLASH_SEED replays a campaign.
 */

import { spawnSync } from "node:child_process";
import path from "node:path";

const root = path.dirname(import.meta.dirname);
const LONGER = {
  FLASH_BUSY_MS: "60000",
  FLASH_CHURN_MS: "60000",
  FLASH_ROUNDS: "1000",
  FLASH_STEPS: "5000",
};
const FILES = ["model", "crash", "churn", "misbehaviour", "zombies"].map((name) =>
  path.join("tests", "server", `${name}.test.ts`),
);
const result = spawnSync(
  process.execPath,
  ["--test", "--test-timeout=3600000", "--test-concurrency=1", "--test-reporter=spec", ...FILES],
  { cwd: root, stdio: "inherit", env: { ...LONGER, ...process.env } },
);
process.exit(result.status ?? 1);
