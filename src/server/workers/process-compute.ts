/**
 * The default compute driver: a worker is a process of this machine.
 *
 *   worker-process   one process: its group, its output, its end
 *   lines            output cut into lines, bounded
 *   leftovers        records that let the next server end what a killed one left behind
 *
 * A process is not a sandbox: workers run with the server's user and see the machine's files.
 */

import { access, mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Compute, RunningWorker, WorkerSpec } from "../../contract/compute.ts";
import { FlashError } from "../../contract/errors.ts";
import { WORKER_FILE } from "../../contract/manifest.ts";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import { silentLog, type Log } from "../../kit/log.ts";
import { WorkerRecords } from "./leftovers.ts";
import { WorkerProcess } from "./worker-process.ts";

/** Longest path of a Unix socket, bytes; the kernel's limit is 108 with the final zero, 104 on macOS. */
const MAX_SOCKET_PATH = 103;
/** A worker id and `.sock`, generously. */
const SOCKET_NAME_LENGTH = 40;
/** All that a worker gets of the server's own environment. */
const INHERITED = ["PATH", "HOME", "TZ", "LANG"] as const;

export interface ProcessComputeOptions {
  /** FLASH_HOME: records of running workers are kept there. */
  home: string;
  log?: Log;
}

export class ProcessCompute implements Compute {
  readonly name = "process";
  readonly runsImages = false;
  readonly #home: string;
  readonly #records: WorkerRecords;
  readonly #log: Log;
  readonly #workers = new Map<string, WorkerProcess>();
  #folder: Promise<string> | undefined;
  #isClosed = false;

  constructor(options: ProcessComputeOptions) {
    this.#home = path.resolve(options.home);
    this.#records = new WorkerRecords(this.#home);
    this.#log = options.log ?? silentLog;
  }

  async start(spec: WorkerSpec): Promise<RunningWorker> {
    await checkArtifact(spec);
    const folder = path.join(await this.#base(), spec.workerId);
    await mkdir(folder, { mode: 0o700 });
    const socketPath = spec.kind === "lb" ? `${folder}.sock` : undefined;
    if (this.#isClosed) {
      throw new FlashError("WORKER_START_FAILED", "The server is stopping; no worker is started.");
    }
    const worker = await WorkerProcess.spawn(spec, {
      folder,
      socketPath,
      env: environment(spec, folder, socketPath),
    });
    this.#workers.set(spec.workerId, worker);
    const recorded = this.#record(worker);
    void this.#forgetAfterExit(worker, folder, recorded);
    await recorded;
    if (this.#isClosed) worker.kill();
    return worker;
  }

  async reclaim(): Promise<void> {
    for (const workerId of await this.#records.reclaim()) {
      this.#log.warn("ended a worker that an earlier server left behind", { worker: workerId });
    }
    await rm(this.#ownFolder(), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const workers = [...this.#workers.values()];
    for (const worker of workers) worker.kill();
    await Promise.all(workers.map((worker) => worker.exited));
    for (const worker of workers) await this.#records.remove(worker.workerId);
    if (this.#folder !== undefined) await rm(await this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  /**
   * Holds sockets and working folders, closed to other users: in the home, where the next server finds
   * what a killed one left, unless that makes socket paths too long.
   */
  async #base(): Promise<string> {
    this.#folder ??= this.#makeBase();
    return await this.#folder;
  }

  async #makeBase(): Promise<string> {
    const own = this.#ownFolder();
    if (fitsSockets(own)) {
      await mkdir(own, { recursive: true, mode: 0o700 });
      return own;
    }
    const parent = fitsSockets(path.join(os.tmpdir(), "flash-XXXXXX")) ? os.tmpdir() : "/tmp";
    return await mkdtemp(path.join(parent, "flash-"));
  }

  #ownFolder(): string {
    return path.join(this.#home, "run");
  }

  /** A safety net only: a worker whose server dies exits when its channel closes. */
  async #record(worker: WorkerProcess): Promise<void> {
    try {
      await this.#records.add({ workerId: worker.workerId, pid: worker.pid });
    } catch (error) {
      this.#log.warn("a worker could not be recorded", { error: String(error) });
    }
  }

  async #forgetAfterExit(
    worker: WorkerProcess,
    folder: string,
    recorded: Promise<void>,
  ): Promise<void> {
    await worker.exited;
    await recorded;
    this.#workers.delete(worker.workerId);
    try {
      await this.#records.remove(worker.workerId);
      await rm(folder, { recursive: true, force: true });
      await rm(`${folder}.sock`, { force: true });
    } catch (error) {
      this.#log.warn("the files of a worker could not be removed", {
        worker: worker.workerId,
        error: String(error),
      });
    }
  }
}

function fitsSockets(folder: string): boolean {
  return Buffer.byteLength(folder) + SOCKET_NAME_LENGTH <= MAX_SOCKET_PATH;
}

async function checkArtifact(spec: WorkerSpec): Promise<void> {
  const file = path.join(spec.artifactDir, WORKER_FILE);
  try {
    await access(file);
  } catch (cause) {
    throw new FlashError(
      "WORKER_START_FAILED",
      `The build of '${spec.endpointName}' is not complete: ${file} is missing.`,
      { hint: "Deploy again.", cause },
    );
  }
}

function environment(
  spec: WorkerSpec,
  folder: string,
  socketPath: string | undefined,
): Record<string, string> {
  const env: Record<string, string> = { TMPDIR: folder };
  for (const name of INHERITED) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  Object.assign(env, spec.env, { [WORKER_ENV.artifactDir]: spec.artifactDir });
  if (socketPath !== undefined) env[WORKER_ENV.socket] = socketPath;
  return env;
}
