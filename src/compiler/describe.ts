/**
 * Step 2, second half: evaluates the built candidates in a child process and collects what they
 * declared. Nothing of the user's is called; a call of an endpoint is refused and reported.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { ChildMessage, DescribeFile, DescribeReport } from "./describe-report.ts";

/** A module that takes longer to load has blocking code at its top level. Source: the original. */
export const IMPORT_TIMEOUT_MS = 30_000;

/** Much of a crashing child's stderr is the stack of the engine itself. */
const STDERR_CHARACTERS = 2000;

export interface DescribeRequest {
  root: string;
  files: readonly DescribeFile[];
  env: Readonly<Record<string, string>> | undefined;
  signal: AbortSignal | undefined;
  importTimeoutMs?: number;
}

type Outcome =
  | { kind: "report"; report: DescribeReport }
  | { kind: "stuck"; file: string }
  | { kind: "died"; file: string; reason: string };

/**
 * Evaluates the files in order. One that blocks or ends the process is reported and left out of
 * another run, so that the others are described all the same.
 */
export async function describeFiles(request: DescribeRequest): Promise<DescribeReport> {
  const failures: DescribeReport["failures"] = [];
  let files = request.files;
  for (;;) {
    const outcome = await runChild({ ...request, files });
    if (outcome.kind === "report") {
      const { report } = outcome;
      return { ...report, failures: [...failures, ...report.failures] };
    }
    const { file } = outcome;
    failures.push({
      file,
      name: "Error",
      message: outcome.kind === "stuck" ? stuckMessage(file, request) : outcome.reason,
      stack: "",
      describing: false,
      fatal: true,
    });
    const left = files.filter((one) => one.file !== file);
    // The child died before it began: it would die again.
    if (left.length === files.length) {
      return { endpoints: [], mistakes: [], exports: [], failures };
    }
    files = left;
  }
}

function stuckMessage(
  file: string,
  { importTimeoutMs = IMPORT_TIMEOUT_MS }: DescribeRequest,
): string {
  return `import of ${file} timed out after ${importTimeoutMs / 1000}s (module-level code may be blocking)`;
}

async function runChild(request: DescribeRequest): Promise<Outcome> {
  const { root, files, env, signal, importTimeoutMs = IMPORT_TIMEOUT_MS } = request;
  signal?.throwIfAborted();
  const script = new URL(`./describe-child${extname(import.meta.url)}`, import.meta.url);
  const child = spawn(process.execPath, ["--no-warnings", fileURLToPath(script)], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    serialization: "advanced",
  });
  const onAbort = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const outcome = await follow(child, files, importTimeoutMs);
    signal?.throwIfAborted();
    return outcome;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Resolves when the child is gone, whatever it said before. */
function follow(
  child: ChildProcess,
  files: readonly DescribeFile[],
  importTimeoutMs: number,
): Promise<Outcome> {
  const stderr = collectOutput(child);
  let file = "";
  let report: DescribeReport | undefined;
  let isStuck = false;
  let timer: NodeJS.Timeout | undefined;
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      isStuck = true;
      child.kill("SIGKILL");
    }, importTimeoutMs);
  };
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.on("message", (message: ChildMessage) => {
      watch();
      if (message.type === "importing") ({ file } = message);
      else {
        ({ report } = message);
        // Its work is done; a handle that user code keeps open must not hold the build.
        child.kill("SIGKILL");
      }
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (report !== undefined) resolve({ kind: "report", report });
      else if (isStuck) resolve({ kind: "stuck", file });
      else
        resolve({ kind: "died", file, reason: `the process ended (${signal ?? code})${stderr()}` });
    });
    watch();
    child.send(files, (error) => {
      if (error !== null) child.kill("SIGKILL");
    });
  });
}

/** What user code prints at build time is shown on request only. Gives the end of stderr. */
function collectOutput(child: ChildProcess): () => string {
  const isShown = Boolean(process.env.FLASH_DEBUG);
  let tail = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      if (isShown) process.stderr.write(text);
      if (stream === child.stderr) tail = (tail + text).slice(-STDERR_CHARACTERS);
    });
  }
  return () => (tail.trim() === "" ? "" : `: ${tail.trim()}`);
}
