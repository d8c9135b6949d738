/**
 * What a worker may use of the machine's memory: as much as the instance it asked for has, and no more
 * than the machine.
 *
 *   80 % of it, and a quarter more than when it became ready   a leak: drained and replaced
 *   all of it                                                  ended at once, like by the kernel
 *
 * A worker that needs most of its memory from the start is none that leaks.
 */

import os from "node:os";
import type { MemoryExcess } from "../../contract/compute.ts";
import { cpuInstance } from "../../contract/hardware.ts";
import type { ResolvedOptions } from "../../contract/options.ts";
import { sleep, type Clock } from "../../kit/clock.ts";

const GIB = 1024 ** 3;
const LOOK_MS = 1000;
/** Until it is ready: what it has then is what growth is measured by. */
const FIRST_LOOKS_MS = 50;
const LEAK_SHARE = 0.8;
const LEAK_GROWTH = 1.25;

export interface MemoryWatch {
  limitBytes: number;
  /** Undefined when it cannot be told. */
  usedBytes: () => Promise<number | undefined>;
  isReady: () => boolean;
  clock: Clock;
  /** The worker has ended. */
  signal: AbortSignal;
  onLeak: (reason: string) => void;
  onExceeded: (excess: MemoryExcess) => void;
}

/** The limit of an endpoint's workers, bytes. `most`: what the server gives any worker. */
export function memoryLimitOf({ cpu }: Pick<ResolvedOptions, "cpu">, most?: number): number {
  const asked = (cpu ?? []).map((type) => cpuInstance(type).memoryGb * GIB);
  // Of several instances it may have got any.
  return Math.min(asked.length === 0 ? Infinity : Math.max(...asked), most ?? os.totalmem());
}

/** Looks until `signal` aborts, upon which it rejects. */
export async function watchMemory(watch: MemoryWatch): Promise<never> {
  const { limitBytes, clock, signal } = watch;
  let atReady: number | undefined;
  let isLeakKnown = false;
  for (;;) {
    await sleep(clock, atReady === undefined ? FIRST_LOOKS_MS : LOOK_MS, signal);
    const used = await watch.usedBytes();
    signal.throwIfAborted();
    if (used === undefined) continue;
    if (watch.isReady()) atReady ??= used;
    if (used >= limitBytes) {
      watch.onExceeded({ usedBytes: used, limitBytes });
    } else if (!isLeakKnown && isLeak(used, atReady, limitBytes)) {
      isLeakKnown = true;
      watch.onLeak(`its memory grew to ${mib(used)} of ${mib(limitBytes)}`);
    }
  }
}

/** What a worker did that used more than it may, for people. */
export function excessText({ usedBytes, limitBytes }: MemoryExcess): string {
  return `used ${mib(usedBytes)} of memory, and may use ${mib(limitBytes)}`;
}

function isLeak(used: number, atReady: number | undefined, limitBytes: number): boolean {
  return atReady !== undefined && used >= limitBytes * LEAK_SHARE && used >= atReady * LEAK_GROWTH;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}
