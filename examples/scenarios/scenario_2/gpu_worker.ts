/** Scenario 2: several queue endpoints in one file. Each function has a name of its own. */

import { Endpoint, GpuType } from "runpod-flash";

/** Cuts a text into words. */
export const preprocess = Endpoint(
  { name: "preprocess", gpu: GpuType.NVIDIA_A100_80GB_PCIe },
  async (text: string) => ({ words: text.toLowerCase().split(/\s+/).filter(Boolean) }),
);

/** Counts words. */
export const runInference = Endpoint(
  { name: "inference", gpu: GpuType.NVIDIA_A100_80GB_PCIe },
  async (words: string[]) => ({ count: words.length, longest: longestOf(words) }),
);

function longestOf(words: readonly string[]): string {
  return words.reduce((longest, word) => (word.length > longest.length ? word : longest), "");
}
