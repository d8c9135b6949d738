/** `flash rollback`: an earlier build becomes the active release again. */

import type { ReleaseDocument, ReleasesDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { columns, type Output } from "../output.ts";
import { openTarget, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

interface Options extends TargetOptions {
  list?: true;
}

export const rollback: CommandDefinition = {
  description:
    "Makes an earlier build the active release again, in one step: nothing is built or sent. It becomes a " +
    "release of its own. Endpoints that did not change in between keep their workers; waiting jobs stay on " +
    "the release that accepted them.",
  examples: [
    ["flash rollback", "to the build before the active one"],
    ["flash rollback --list", "what there is to go back to"],
    ["flash rollback 3 --env staging", "to the build of release 3"],
  ],
  arguments: [["[release]", "number or id of an earlier release"]],
  options: [["--list", "list the releases and change nothing"], ...TARGET_OPTIONS],
  async run(invocation) {
    const { args, output, signal } = invocation;
    const options = invocation.options as Options;
    const { cloud, target } = await openTarget(invocation);
    const document = await cloud.releases(target, { signal });
    if (options.list === true) {
      output.document(document);
      if (!output.json) list(document, output);
      return;
    }
    const chosen = choose(document, args[0]);
    const deployed = await cloud.rollback(target, chosen.build, { signal });
    output.document(deployed);
    output.print(
      `${output.colors.green("✓")} ${target.environment} runs the build of release ${chosen.version} again  ${output.colors.dim(deployed.release)}`,
    );
  },
};

/** Throws `NOT_FOUND`, and `CONFLICT` when there is nothing to go back to. */
function choose(document: ReleasesDocument, wanted: string | undefined): ReleaseDocument {
  const { releases, app, environment } = document;
  const active = releases.find(({ state }) => state === "ACTIVE");
  const chosen = releases.find(({ id, version, build }) =>
    wanted === undefined ? build !== active?.build : id === wanted || String(version) === wanted,
  );
  if (chosen !== undefined && chosen.build !== active?.build) return chosen;
  const hint = "Run 'flash rollback --list' to see the releases.";
  if (chosen !== undefined) {
    throw new FlashError("CONFLICT", `The build of release ${chosen.version} is active already.`, {
      hint,
    });
  }
  throw wanted === undefined
    ? new FlashError(
        "CONFLICT",
        `'${app}' in '${environment}' has had one build only: there is nothing to go back to.`,
      )
    : new FlashError("NOT_FOUND", `'${app}' in '${environment}' has no release '${wanted}'.`, {
        hint,
      });
}

function list({ releases }: ReleasesDocument, output: Output): void {
  const rows = releases.map(({ version, id, build, state, createdAt }) => [
    String(version),
    id,
    build,
    state.toLowerCase(),
    createdAt,
  ]);
  output.print(columns(rows));
}
