/** CPU time that processes have used, with everything they have started. Needs Linux. */

import { readFileSync, readdirSync } from "node:fs";

/** Clock ticks of `/proc` are hundredths of a second wherever Node runs. */
const TICK_MS = 10;

/** User and system time of these processes and their descendants, ms. */
export function cpuMsOf(pids: readonly number[]): number {
  let ms = 0;
  for (const pid of pids) {
    const [, fields = ""] = read(`/proc/${pid}/stat`).split(/\) (?=[A-Z] )/);
    const [user = 0, system = 0] = fields.split(" ").slice(11, 13).map(Number);
    ms += (user + system) * TICK_MS + cpuMsOf(childrenOf(pid));
  }
  return ms;
}

function childrenOf(pid: number): number[] {
  return tasksOf(pid).flatMap((task) =>
    read(`/proc/${pid}/task/${task}/children`).split(" ").filter(Boolean).map(Number),
  );
}

function tasksOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Empty when the process has ended. */
function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
