/** Scenario 1: a single queue endpoint. One function, one name, one endpoint. */

import { Endpoint, GpuType } from "runpod-flash";

/** Scores a list of numbers. */
export const processData = Endpoint(
  { name: "gpu-inference", gpu: GpuType.NVIDIA_A100_80GB_PCIe },
  async (values: number[]) => ({ sum: values.reduce((sum, value) => sum + value, 0) }),
);
