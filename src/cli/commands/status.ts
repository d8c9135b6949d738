/** `flash status`: what is deployed, and how it does. */

import type { EndpointStatus, StatusDocument } from "../../contract/control.ts";
import { driftText } from "../changes.ts";
import type { CommandDefinition } from "../command.ts";
import { columns, type Output } from "../output.ts";
import { openTarget, TARGET_OPTIONS } from "../target.ts";

export const status: CommandDefinition = {
  description:
    "Shows the active release of an environment: every endpoint with its URL, state, workers and jobs.",
  examples: [
    ["flash status", "the project in this folder"],
    ["flash status --env staging", "another environment"],
    ["flash status --json", "for programs"],
  ],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { output, signal } = invocation;
    const { cloud, target } = await openTarget(invocation);
    const document = await cloud.status(target, { signal });
    output.document(document);
    if (!output.json) print(document, output);
  },
};

function print(document: StatusDocument, output: Output): void {
  const { bold, dim } = output.colors;
  output.print(`${bold(document.app)} / ${bold(document.environment)}`);
  const facts = { release: document.release, build: document.build, target: document.target };
  output.print(dim(columns(Object.entries(facts), "  ")));
  if (document.drift.length > 0) {
    output.print(`\n${bold("Drift")}\n${driftText(document.drift, output.colors)}`);
    output.print(dim("  flash deploy puts it right"));
  }
  if (document.endpoints.length === 0) output.print("\nno endpoints");
  for (const endpoint of document.endpoints) output.print(`\n${endpointText(endpoint, output)}`);
}

function endpointText(endpoint: EndpointStatus, output: Output): string {
  const { bold, cyan, dim, red } = output.colors;
  const kind = endpoint.kind === "qb" ? "queue" : "load-balanced";
  const rows = [
    ["id", endpoint.id],
    ["url", cyan(endpoint.url)],
    ["workers", workersText(endpoint)],
    [endpoint.kind === "qb" ? "jobs" : "requests", workText(endpoint)],
    ...endpoint.routes.map(({ method, path }, index) => [
      index === 0 ? "routes" : "",
      `${method} ${path}`,
    ]),
  ];
  const problem = endpoint.problem === undefined ? "" : `\n  ${red(endpoint.problem)}`;
  const head = `${mark(endpoint, output)} ${bold(endpoint.name)}  ${endpoint.state}  ${dim(kind)}`;
  return `${head}\n${columns(rows, "  ")}${problem}`;
}

/** A sign of its own for each state: colour alone would be lost on paper and on colour-blind people. */
function mark({ state }: EndpointStatus, { colors }: Output): string {
  switch (state) {
    case "ready":
      return colors.green("●");
    case "starting":
      return colors.yellow("◐");
    case "unhealthy":
      return colors.red("✗");
    case "idle":
      return colors.dim("○");
  }
}

function workersText({ workers }: EndpointStatus): string {
  const present = Object.entries(workers).filter(
    ([state, number]) => number > 0 && state !== "STOPPED",
  );
  return present.map(([state, number]) => `${number} ${state.toLowerCase()}`).join(", ") || "none";
}

function workText({ kind, jobs }: EndpointStatus): string {
  if (kind === "lb") return `${jobs.inProgress} in progress`;
  return (
    `${jobs.inQueue} in queue, ${jobs.inProgress} in progress, ` +
    `${jobs.completed} completed, ${jobs.failed} failed`
  );
}
