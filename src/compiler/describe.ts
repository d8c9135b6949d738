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

/** The process itself, and the SDK in it, are there by then: none of that is the project's code, ms. */
const START_TIMEOUT_MS = 120_000;

/** Much of a crashing child's stderr is the stack of the engine itself. */
const STDERR_CHARACTERS = 2000;

export interface DescribeRequest {
  /** May be still in the making: the process starts meanwhile. */
  files: Promise<readonly DescribeFile[]>;
  processes: DescribeProcesses;
  signal: AbortSignal | undefined;
}

/** Starts describing processes, and keeps one ready when another build is to be expected. */
export class DescribeProcesses {
  readonly #root: string;
  readonly #sdk: string;
  readonly #env: Readonly<Record<string, string>> | undefined;
  #spare: ChildProcess | undefined;

  /** `sdk` is the URL of the SDK's module; `env` is added to this process's environment. */
  constructor(
    root: string,
    { sdk, env }: { sdk: string; env: Readonly<Record<string, string>> | undefined },
  ) {
    this.#root = root;
    this.#sdk = sdk;
    this.#env = env;
  }

  /** A process that nobody else has. */
  take(): ChildProcess {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare?.connected === true ? spare : this.#start();
  }

  /** Has a process ready for the next {@link take}. */
  prepare(): void {
    if (this.#spare?.connected === true) return;
    const spare = this.#start();
    // Told when it is taken.
    spare.on("error", () => undefined);
    this.#spare = spare;
  }

  /** Ends the one that is ready. Repeatable. */
  close(): void {
    this.#spare?.kill("SIGKILL");
    this.#spare = undefined;
  }

  #start(): ChildProcess {
    const script = new URL(`./describe-child${extname(import.meta.url)}`, import.meta.url);
    return spawn(process.execPath, ["--no-warnings", fileURLToPath(script), this.#sdk], {
      cwd: this.#root,
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      serialization: "advanced",
    });
  }
}

const NOTHING: DescribeReport = { endpoints: [], mistakes: [], exports: [], failures: [] };

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
  // Told by whoever made the promise; here it may fail before anybody waits for it.
  request.files.catch(() => undefined);
  let coming = request.files;
  for (;;) {
    const outcome = await runChild({ ...request, files: coming });
    if (outcome.kind === "report") {
      const { report } = outcome;
      return { ...report, failures: [...failures, ...report.failures] };
    }
    const { file } = outcome;
    const files = await coming;
    failures.push({
      file,
      name: "Error",
      message: outcome.kind === "stuck" ? stuckMessage(file) : outcome.reason,
      stack: "",
      describing: false,
      fatal: true,
    });
    const left = files.filter((one) => one.file !== file);
    // The child died before it began: it would die again.
    if (left.length === files.length) return { ...NOTHING, failures };
    coming = Promise.resolve(left);
  }
}

function stuckMessage(file: string): string {
  return `import of ${file} timed out after ${IMPORT_TIMEOUT_MS / 1000}s (module-level code may be blocking)`;
}

async function runChild(request: DescribeRequest): Promise<Outcome> {
  const { files, processes, signal } = request;
  signal?.throwIfAborted();
  const child = processes.take();
  const onAbort = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const outcome = await follow(child, files);
    signal?.throwIfAborted();
    return outcome;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Settles when the child is gone, whatever it said before. */
function follow(child: ChildProcess, files: Promise<readonly DescribeFile[]>): Promise<Outcome> {
  const stderr = collectOutput(child);
  const seen: Seen = { file: "", report: undefined, isStuck: false, failure: undefined };
  let timer: NodeJS.Timeout | undefined;
  let isGone = false;
  const end = (): void => void child.kill("SIGKILL");
  const watch = (forMs: number): void => {
    clearTimeout(timer);
    // The files may come after its end, and a timer would keep this process.
    if (isGone) return;
    timer = setTimeout(() => {
      seen.isStuck = true;
      end();
    }, forMs);
  };
  child.on("message", (message: ChildMessage) => {
    watch(IMPORT_TIMEOUT_MS);
    if (message.type === "importing") seen.file = message.file;
    else {
      seen.report = message.report;
      // Its work is done; a handle that user code keeps open must not hold the build.
      end();
    }
  });
  files.then(
    (list) => {
      watch(START_TIMEOUT_MS);
      if (list.length === 0) seen.report = NOTHING;
      if (list.length === 0 || !child.connected) end();
      else child.send([...list], (error) => error !== null && end());
    },
    (error: Error) => {
      seen.failure = error;
      end();
    },
  );
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      isGone = true;
      clearTimeout(timer);
    };
    child.once("error", (error) => {
      stop();
      reject(error);
    });
    child.once("close", (code, signal) => {
      stop();
      if (seen.failure !== undefined) reject(seen.failure);
      else resolve(outcomeOf(seen, `the process ended (${signal ?? code})${stderr()}`));
    });
  });
}

/** What is known about a child before it ends. */
interface Seen {
  /** The one it imports. */
  file: string;
  report: DescribeReport | undefined;
  isStuck: boolean;
  /** Why there is nothing to import. */
  failure: Error | undefined;
}

function outcomeOf({ file, report, isStuck }: Seen, reason: string): Outcome {
  if (report !== undefined) return { kind: "report", report };
  if (!isStuck) return { kind: "died", file, reason };
  if (file !== "") return { kind: "stuck", file };
  const late = `the process that evaluates the project did not begin within ${START_TIMEOUT_MS / 1000}s`;
  return { kind: "died", file, reason: late };
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
