/** `flash scale explain`: how an endpoint was scaled lately, with what the scaler saw. */

import type { ScalingDocument, ScalingTarget } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { columns, type Output } from "../output.ts";
import { openTarget, TARGET_OPTIONS } from "../target.ts";

export const scaleExplain: CommandDefinition = {
  description:
    "Shows the newest scaling decisions about an endpoint: what waited and ran, how many workers there " +
    "were, how many there should be, and why. A decision is kept when it differs from the one before.",
  examples: [
    ["flash scale explain user-service", "the newest decisions, oldest first"],
    ["flash scale explain user-service --json", "with every input, for programs"],
  ],
  arguments: [["<endpoint>", "name of an endpoint"]],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const [endpoint] = args;
    if (endpoint === undefined) throw new FlashError("INVALID_USAGE", "specify an endpoint");
    const { cloud, target } = await openTarget(invocation);
    const document = await cloud.scaling(target, endpoint, { signal });
    output.document(document);
    if (!output.json) print(document, output);
  },
};

function print({ endpoint, decisions }: ScalingDocument, output: Output): void {
  if (decisions.length === 0) {
    output.print(`no decisions about ${endpoint} yet`);
    return;
  }
  const rows = decisions.flatMap(({ time, targets }) =>
    targets.map((target) => [time, change(target), target.reason, release(target)]),
  );
  output.print(columns(rows));
}

function change({ workers, target }: ScalingTarget): string {
  return `${workers} → ${target}`;
}

function release({ isActive, releaseId }: ScalingTarget): string {
  return isActive ? "" : `for ${releaseId}`;
}
