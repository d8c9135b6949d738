/** Processes that tests have started, or made others start. */

import { readFileSync } from "node:fs";
import type { Owner } from "./temp.ts";

/** True while a process of that id runs (a zombie does not). */
export function isAlive(pid: number): boolean {
  return (fieldsOf(`/proc/${pid}/stat`)?.[0] ?? "Z") !== "Z";
}

/** Ends these processes after the test, if it has left them: and none that has come by its id since. */
export function endAfterwards(owner: Owner, pids: readonly number[]): void {
  const known = pids.map((pid) => [pid, startOf(pid)] as const);
  owner.after(() => {
    for (const [pid, start] of known) {
      if (start !== undefined && startOf(pid) === start) process.kill(pid, "SIGKILL");
    }
  });
}

/** Kills processes that are there. */
export function kill(pids: readonly number[]): void {
  for (const pid of pids) process.kill(pid, "SIGKILL");
}

/** Processor time that a process's first thread has used, ms; undefined when there is no such process. */
export function cpuMsOf(pid: number): number | undefined {
  const fields = fieldsOf(`/proc/${pid}/task/${pid}/stat`);
  return fields === undefined ? undefined : (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** What Linux counts processor time in, for whoever reads it there. */
const TICK_MS = 10;

function startOf(pid: number): string | undefined {
  return fieldsOf(`/proc/${pid}/stat`)?.[19];
}

/** From the state on. */
function fieldsOf(file: string): string[] | undefined {
  try {
    const stat = readFileSync(file, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
