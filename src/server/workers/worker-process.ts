/**
 * One worker as a process: the leader of a process group of its own, so that whatever it starts ends
 * with it. The IPC channel has two uses: the worker says `{"type":"ready"}`, and the channel closes
 * when the server dies, upon which the worker exits.
 */

import { spawn, type ChildProcess } from "node:child_process";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import { WORKER_FILE } from "../../contract/manifest.ts";
import type {
  RunningWorker,
  WorkerAddress,
  WorkerExit,
  WorkerSpec,
} from "../../contract/compute.ts";
import { deferred } from "../../kit/abort.ts";
import { systemClock } from "../../kit/clock.ts";
import { Lines } from "./lines.ts";

/** After the exit the rest of the output is waited for this long, ms. */
const OUTPUT_WAIT_MS = 500;

export interface ProcessPlace {
  /** Working and temporary folder of this worker alone. */
  folder: string;
  /** Load-balanced workers listen here. */
  socketPath: string | undefined;
  env: Readonly<Record<string, string>>;
}

export class WorkerProcess implements RunningWorker {
  readonly workerId: string;
  readonly address: WorkerAddress | undefined;
  readonly pid: number;
  readonly ready: Promise<void>;
  readonly exited: Promise<WorkerExit>;
  readonly #child: ChildProcess;
  #isOver = false;

  /** Resolves when the process runs. Throws `WORKER_START_FAILED`. */
  static async spawn(spec: WorkerSpec, place: ProcessPlace): Promise<WorkerProcess> {
    const child = spawn(process.execPath, [path.join(spec.artifactDir, WORKER_FILE)], {
      cwd: place.folder,
      env: { ...place.env },
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
        `A process for '${spec.endpointName}' could not be started (${code ?? String(cause)}).`,
        { hint: "Look at the machine's limits on processes and memory.", cause },
      );
    }
    return new WorkerProcess(spec, place, child);
  }

  private constructor(spec: WorkerSpec, place: ProcessPlace, child: ChildProcess) {
    this.workerId = spec.workerId;
    this.pid = child.pid ?? 0;
    this.#child = child;
    this.address = place.socketPath === undefined ? undefined : { socketPath: place.socketPath };
    const ready = deferred<void>();
    this.ready = ready.promise;
    child.on("message", (message) => {
      if ((message as { type?: unknown } | null)?.type === "ready") ready.resolve();
    });
    // A kill that fails, or a channel that breaks, is followed by the exit.
    child.on("error", () => undefined);
    this.#readOutput(spec);
    this.exited = this.#watchExit();
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

  #readOutput(spec: WorkerSpec): void {
    for (const stream of ["stdout", "stderr"] as const) {
      const lines = new Lines({ stream, clock: systemClock, onLine: spec.onLine });
      this.#child[stream]?.on("data", (chunk: Buffer) => lines.push(chunk));
      this.#child[stream]?.once("close", () => lines.end());
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
