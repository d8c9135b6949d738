/**
 * Two endpoints of one app: `public-api` takes HTTP requests and calls `gpu-backend`, whose jobs
 * are queued, retried and scaled on their own. Deployed, the call between them is a job; in a test
 * it is a plain call.
 */

import { Endpoint } from "runpod-flash";

/** Runs the model. On Runpod this would say `gpu: GpuType.NVIDIA_A100_80GB_PCIe` instead of `cpu`. */
export const processWithGpu = Endpoint(
  { name: "gpu-backend", cpu: "cpu5c-4-8", workers: [0, 3] },
  async (prompt: string, steps = 20) => {
    if (prompt.trim() === "") throw new RangeError("The prompt is empty");
    return { prompt, steps, tokens: prompt.split(/\s+/).length };
  },
);

const api = Endpoint({ name: "public-api", cpu: "cpu3c-1-2", workers: [1, 5] });

/** Validates a request and lets the backend do the heavy part. */
export const generate = api.post("/process", async (prompt: string) => {
  const result = await processWithGpu(prompt);
  return { status: "done", result };
});

/** Health check endpoint. */
export const health = api.get("/health", () => ({ status: "healthy" }));
