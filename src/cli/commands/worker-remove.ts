/** `flash worker remove`: lets a worker that somebody else started finish, and voids its key. */

import type { CommandDefinition } from "../command.ts";
import { openTarget, TARGET_OPTIONS } from "../target.ts";

export const workerRemove: CommandDefinition = {
  description:
    "Gives a worker with a key from 'flash worker env' no more jobs, and voids the key once the worker " +
    "is silent. What it has it may finish. Run this before stopping its container: the worker then " +
    "ends within a second of SIGTERM instead of waiting for its open polls.",
  examples: [["flash worker remove whisper k3v9x2m1q7ab", "and then stop its container"]],
  arguments: [
    ["<endpoint>", "name of the endpoint"],
    ["<worker>", "worker id, as 'flash worker env' told it"],
  ],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const [endpoint = "", worker = ""] = args;
    const { cloud, target } = await openTarget(invocation);
    const document = await cloud.removeWorker(target, { endpoint, worker }, { signal });
    output.document(document);
    output.print(`${output.colors.green("✓")} removed worker ${worker} of ${endpoint}`);
  },
};
