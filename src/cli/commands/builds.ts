/** `flash builds`: what the server keeps of an app, why, and how much room it takes. */

import type { BuildsDocument, ListedBuild } from "../../contract/control.ts";
import type { CommandDefinition } from "../command.ts";
import { localTime } from "../dates.ts";
import { columns, count, megabytes } from "../output.ts";
import { APP_OPTIONS, openForApp } from "../server-options.ts";

export const buildsList: CommandDefinition = {
  description:
    "Lists the builds that the server keeps of an app, newest first: since when, how much room they take, and " +
    "which releases need them. What no release can come back to is removed after every deployment.",
  examples: [
    ["flash builds list", "of the project in this folder"],
    ["flash builds list --json", "with digests and sizes"],
  ],
  options: APP_OPTIONS,
  async run(invocation) {
    const { output, signal } = invocation;
    const { cloud, app } = await openForApp(invocation);
    const document = await cloud.builds(app, { signal });
    output.document(document);
    if (!output.json) output.print(listText(document));
  },
};

export const buildsPrune: CommandDefinition = {
  description:
    "Removes builds that no release can come back to and no waiting job needs. The server does it by itself " +
    "after every deployment and once an hour. How many releases it keeps: flash server start --keep-releases.",
  examples: [["flash builds prune", "now, and tell how much room that made"]],
  options: APP_OPTIONS,
  async run(invocation) {
    const { output, signal } = invocation;
    const { cloud, app } = await openForApp(invocation);
    const document = await cloud.pruneBuilds(app, { signal });
    output.document(document);
    const { builds, freedBytes } = document;
    output.print(
      builds.length === 0
        ? "nothing to remove"
        : `${output.colors.green("✓")} removed ${count(builds.length, "build")}, ${megabytes(freedBytes)}`,
    );
  },
};

function listText({ app, builds, unpackedBytes, keepReleases }: BuildsDocument): string {
  if (builds.length === 0) return `no builds of ${app}\n  run flash deploy to make one`;
  const rows = builds.map((build) => [
    build.id.slice(0, 12),
    localTime(build.createdAt),
    count(build.endpoints, "endpoint"),
    megabytes(build.unpackedBytes),
    usesOf(build),
  ]);
  const total = `${count(builds.length, "build")}, ${megabytes(unpackedBytes)}; ${count(keepReleases, "release")} of each environment can come back`;
  return `${columns(rows)}\n${total}`;
}

function usesOf({ active, kept }: ListedBuild): string {
  const uses = [
    ...active.map((environment) => `active in ${environment}`),
    ...(kept.length === 0 ? [] : [`kept for ${kept.join(", ")}`]),
  ];
  return uses.length === 0 ? "not used yet" : uses.join("; ");
}
