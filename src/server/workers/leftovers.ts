/**
 * Workers that an earlier server left behind. Every worker process is written down while it lives;
 * a server that starts ends what it finds, and nothing else: a process is ours only when it belongs
 * to the recorded group and still carries the recorded worker id in its environment, because
 * process ids are used again.
 */

import { execFile } from "node:child_process";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { WORKER_ENV } from "../../contract/worker-env.ts";

const run = promisify(execFile);

interface WorkerRecord {
  workerId: string;
  /** Process id, and the id of the process group it leads. */
  pid: number;
}

/** The records of a home, one file a worker. */
export class WorkerRecords {
  readonly #folder: string;

  constructor(home: string) {
    this.#folder = path.join(home, "workers");
  }

  async add(record: WorkerRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeFile(this.#file(record.workerId), JSON.stringify(record), { mode: 0o600 });
  }

  async remove(workerId: string): Promise<void> {
    await rm(this.#file(workerId), { force: true });
  }

  /** Ends every process that is still there, and forgets it. Returns the worker ids that were alive. */
  async reclaim(): Promise<string[]> {
    const found: string[] = [];
    for (const record of await this.#all()) {
      const pids = await livingProcesses(record);
      for (const pid of pids) end(pid);
      if (pids.length > 0) found.push(record.workerId);
      await this.remove(record.workerId);
    }
    return found;
  }

  async #all(): Promise<WorkerRecord[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const records: WorkerRecord[] = [];
    for (const name of names) {
      const file = path.join(this.#folder, name);
      try {
        const record = JSON.parse(await readFile(file, "utf8")) as WorkerRecord;
        if (Number.isSafeInteger(record.pid) && record.pid > 1) records.push(record);
      } catch {
        // Half written when the server died; its worker ended with its channel to that server.
        await rm(file, { force: true });
      }
    }
    return records;
  }

  #file(workerId: string): string {
    return path.join(this.#folder, `${workerId}.json`);
  }
}

/** Processes of the recorded group that are certainly this worker's. */
async function livingProcesses(record: WorkerRecord): Promise<number[]> {
  const mark = `${WORKER_ENV.workerId}=${record.workerId}`;
  const living: number[] = [];
  for (const pid of await groupMembers(record.pid)) {
    if ((await environmentOf(pid)).includes(mark)) living.push(pid);
  }
  return living;
}

async function groupMembers(group: number): Promise<number[]> {
  if (process.platform === "linux") return await linuxGroupMembers(group);
  const { stdout } = await run("ps", ["-A", "-o", "pid=,pgid="], { maxBuffer: 16 * 1024 * 1024 });
  return stdout
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, pgid]) => pgid === group)
    .map(([pid]) => pid ?? 0)
    .filter((pid) => pid > 1);
}

/** From /proc, because small container images have no `ps`. */
async function linuxGroupMembers(group: number): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const members: number[] = [];
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    // `pid (name) state ppid pgrp …`: the name may hold anything, a parenthesis included.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(fields[2]) === group) members.push(pid);
  }
  return members;
}

async function environmentOf(pid: number): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/environ`, "utf8")).split("\0");
  } catch {
    if (process.platform === "linux") return [];
  }
  try {
    // Where there is no /proc, `ps` shows the environment of one's own processes.
    const { stdout } = await run("ps", ["eww", "-o", "command=", "-p", String(pid)]);
    return stdout.split(/\s+/);
  } catch {
    return [];
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone in the meantime.
  }
}
