/**
 * How long the command line takes to start: `flash --help`, and `flash status` of a deployed app on a
 * running server, beside a Node that does nothing. Measures what `npm run build` has made.
 *
 *   node bench/cli.ts [rounds]
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { interleave, printReport, type Subject } from "./harness.ts";

const ROOT = path.dirname(import.meta.dirname);
const FLASH = path.join(ROOT, "bin", "flash.js");
const rounds = Number(process.argv[2] ?? 30);

const folder = mkdtempSync(path.join(tmpdir(), "flash-bench-cli-"));
const env = { ...process.env, FLASH_HOME: path.join(folder, "home"), FLASH_NO_UPDATE_CHECK: "1" };
try {
  deploy();
  const report = await interleave(
    "cli",
    [
      start("node -e 0", ["-e", "0"]),
      start("flash --help", [FLASH, "--help"]),
      start("flash status", [FLASH, "status"]),
    ],
    { rounds, baseline: "node -e 0" },
  );
  printReport(report);
} finally {
  run([FLASH, "server", "stop"]);
  rmSync(folder, { recursive: true, force: true });
}

/** One endpoint of each kind, on a server of its own. */
function deploy(): void {
  mkdirSync(path.join(folder, "node_modules"));
  symlinkSync(ROOT, path.join(folder, "node_modules", "runpod-flash"), "junction");
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module", "name": "bench" }\n');
  writeFileSync(
    path.join(folder, "app.ts"),
    `import { Endpoint } from "runpod-flash";
export const double = Endpoint({ name: "double", cpu: "cpu3c-1-2" }, (value: number) => value * 2);
const api = Endpoint({ name: "api", cpu: "cpu3c-1-2" });
export const add = api.post("/add", (x: number, y: number) => x + y);
`,
  );
  run([FLASH, "server", "start", "--port", "0"]);
  run([FLASH, "deploy", "--app", "bench", "--quiet"]);
  writeFileSync(path.join(folder, "flash.toml"), '[app]\nname = "bench"\n');
}

function start(name: string, args: readonly string[]): Subject {
  return {
    name,
    async measure() {
      const started = performance.now();
      run(args);
      return { ms: performance.now() - started };
    },
    async close() {},
  };
}

function run(args: readonly string[]): void {
  const { status, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    env,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}: ${stderr}`);
}
