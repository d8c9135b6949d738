/** A queue endpoint on a GPU: one function, durable jobs, retries. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Endpoint, GpuType } from "runpod-flash";

/**
 * Says hello and reports the GPU of its worker. Without a GPU, as on most laptops, it says so.
 */
export const gpuHello = Endpoint(
  { name: "gpu_worker", gpu: GpuType.ANY, workers: [0, 3], idleTimeoutS: 60 },
  async (message: string = "Hello from the GPU worker") => {
    const gpu = await gpuName();
    return {
      message,
      gpuAvailable: gpu !== null,
      gpu,
      timestamp: new Date().toISOString(),
    };
  },
);

/** Name of the first GPU that the NVIDIA driver knows, or null. */
async function gpuName(): Promise<string | null> {
  try {
    const query = ["--query-gpu=name", "--format=csv,noheader"];
    const { stdout } = await promisify(execFile)("nvidia-smi", query);
    return stdout.split("\n")[0]?.trim() || null;
  } catch {
    return null;
  }
}

// `node gpu_worker.ts` calls the function once.
if (process.argv[1] === import.meta.filename) {
  console.log(await gpuHello("Testing the GPU worker"));
}
