/** A queue endpoint on a CPU instance. */

import os from "node:os";
import { Endpoint } from "runpod-flash";

/** Says hello and tells what it runs on. */
export const cpuHello = Endpoint(
  { name: "cpu_worker", cpu: "cpu3c-1-2", workers: [0, 3] },
  async (message: string = "Hello from the CPU worker") => ({
    message,
    timestamp: new Date().toISOString(),
    platform: `${os.type()} ${os.arch()}`,
    node: process.version,
  }),
);

// `node cpu_worker.ts` calls the function once.
if (process.argv[1] === import.meta.filename) {
  console.log(await cpuHello("Testing the CPU worker"));
}
