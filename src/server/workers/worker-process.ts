/**
 * One worker as a process: the leader of a process group of its own, so that whatever it starts ends
 * with it. The IPC channel has three uses: the worker says `{"type":"ready"}`, a standby is told which
 * worker it is, and the channel closes when the server dies, upon which the worker exits.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { FlashError } from "../../contract/errors.ts";
import type {
  RunningWorker,
  WorkerAddress,
  WorkerExit,
  WorkerLine,
} from "../../contract/compute.ts";
import type { ManifestPart } from "../../contract/manifest.ts";
import { deferred } from "../../kit/abort.ts";
import { systemClock } from "../../kit/clock.ts";
import { Lines } from "./lines.ts";

/** Files and connections that a worker may have open. Node itself would take all that the machine allows. */
export const MAX_OPEN_FILES = 8192;
/** Memory pages of Linux, bytes, on every machine that Node's builds run on by default. */
const PAGE_BYTES = 4096;
/** Lowers the limits where they are higher, then becomes the program: same process, same channel. */
const LIMITED = [
  "ulimit -c 0 2>/dev/null",
  `ulimit -n ${MAX_OPEN_FILES} 2>/dev/null`,
  // Shells add these to the environment.
  "unset PWD OLDPWD SHLVL",
  'exec "$@"',
].join("; ");

/** After the exit the rest of the output is waited for this long, ms. */
const OUTPUT_WAIT_MS = 500;

export interface ProcessPlace {
  /** What the process carries in its environment as worker id: how a later server knows it as ours. */
  mark: string;
  /** Working and temporary folder of this process alone. */
  folder: string;
}

export interface ProcessStart {
  /** The program's file. */
  program: string;
  /** Whom it is for, in messages. */
  label: string;
  place: ProcessPlace;
  env: Readonly<Record<string, string>>;
  /** Gets its output until it becomes a worker. Default: what it writes until then is nobody's. */
  onLine?: WorkerRole["onLine"] | undefined;
}

/** What makes a process a certain worker. */
export interface WorkerRole {
  workerId: string;
  /** Load-balanced workers listen here. */
  socketPath: string | undefined;
  onLine: (line: WorkerLine) => void;
}

export class WorkerProcess {
  readonly place: ProcessPlace;
  readonly pid: number;
  readonly ready: Promise<void>;
  /** Resolves when it is a standby that can be assigned, with what it could not make ready. Never rejects. */
  readonly standing: Promise<string | undefined>;
  readonly exited: Promise<WorkerExit>;
  readonly #child: ChildProcess;
  #onLine: ((line: WorkerLine) => void) | undefined;
  #isOver = false;

  /** Resolves when the process runs. Throws `WORKER_START_FAILED`. */
  static async spawn(start: ProcessStart): Promise<WorkerProcess> {
    const { program, label, place, env, onLine } = start;
    const child = spawn("/bin/sh", ["-c", LIMITED, "sh", process.execPath, program], {
      cwd: place.folder,
      env: { ...env },
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    const started = deferred<void>();
    child.once("spawn", started.resolve);
    child.once("error", started.reject);
    try {
      await started.promise;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new FlashError(
        "WORKER_START_FAILED",
        `A process for ${label} could not be started (${code ?? String(cause)}).`,
        { hint: "Look at the machine's limits on processes and memory.", cause },
      );
    }
    return new WorkerProcess(child, { place, onLine });
  }

  private constructor(
    child: ChildProcess,
    { place, onLine }: Pick<ProcessStart, "place" | "onLine">,
  ) {
    this.place = place;
    this.#onLine = onLine;
    this.pid = child.pid ?? 0;
    this.#child = child;
    const ready = deferred<void>();
    const standing = deferred<string | undefined>();
    this.ready = ready.promise;
    this.standing = standing.promise;
    child.on("message", (message) => {
      const { type, failure } = (message ?? {}) as { type?: unknown; failure?: unknown };
      if (type === "ready") ready.resolve();
      if (type === "standby") standing.resolve(typeof failure === "string" ? failure : undefined);
    });
    // A kill that fails, or a channel that breaks, is followed by the exit.
    child.on("error", () => undefined);
    this.#readOutput();
    this.exited = this.#watchExit();
  }

  /** It has exited; what it wrote at its end may still be on its way. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** From now on the process is this worker. */
  become({ workerId, socketPath, onLine }: WorkerRole): RunningWorker {
    this.#onLine = onLine;
    const address: WorkerAddress | undefined =
      socketPath === undefined ? undefined : { socketPath };
    const { pid, ready, exited } = this;
    return {
      workerId,
      address,
      pid,
      ready,
      exited,
      memoryBytes: () => this.#memoryBytes(),
      stop: (graceMs) => this.stop(graceMs),
      kill: () => this.kill(),
    };
  }

  /** Gives a standby its environment. Its artifact has the runtime that the standby was booted with. */
  assign(env: Readonly<Record<string, string>>, manifest: ManifestPart | undefined): void {
    this.#child.send({ type: "assign", env, sharesSdk: true, manifest });
  }

  async stop(graceMs: number): Promise<WorkerExit> {
    this.#signal(this.pid, "SIGTERM");
    const cancel = systemClock.after(graceMs, () => this.kill());
    const exit = await this.exited;
    cancel();
    return exit;
  }

  kill(): void {
    this.#signal(-this.pid, "SIGKILL");
  }

  #readOutput(): void {
    const onLine = (line: WorkerLine): void => this.#onLine?.(line);
    for (const stream of ["stdout", "stderr"] as const) {
      const pipe = this.#child[stream];
      const onPause = (isPaused: boolean): void => void (isPaused ? pipe?.pause() : pipe?.resume());
      const lines = new Lines({ stream, clock: systemClock, onLine, onPause });
      pipe?.on("data", (chunk: Buffer) => lines.push(chunk));
      pipe?.once("close", () => lines.end());
      // What a worker has left in a pipe that is not read would keep its end from being seen.
      this.#child.once("exit", () => pipe?.resume());
    }
  }

  #watchExit(): Promise<WorkerExit> {
    const over = deferred<WorkerExit>();
    this.#child.once("exit", (code, signal) => {
      // Children of the worker are still in its group, even if they have outlived it.
      this.#signal(-this.pid, "SIGKILL");
      this.#isOver = true;
      const exit = { code, signal };
      const cancel = systemClock.after(OUTPUT_WAIT_MS, () => over.resolve(exit));
      this.#child.once("close", () => {
        cancel();
        over.resolve(exit);
      });
    });
    return over.promise;
  }

  /** Of the worker's own process; where there is no /proc it cannot be told. */
  async #memoryBytes(): Promise<number | undefined> {
    if (this.#isOver) return undefined;
    try {
      const [, resident] = (await readFile(`/proc/${this.pid}/statm`, "utf8")).split(" ");
      return Number(resident) * PAGE_BYTES;
    } catch {
      return undefined;
    }
  }

  /** Positive: the worker. Negative: its whole group. */
  #signal(target: number, signal: NodeJS.Signals): void {
    // Once it has exited its process id may belong to somebody else.
    if (this.#isOver) return;
    try {
      process.kill(target, signal);
    } catch {
      // Gone in the meantime.
    }
  }
}
