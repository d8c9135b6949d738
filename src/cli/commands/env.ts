/** `flash env`: the environments of an app. */

import type { EnvironmentDocument, EnvironmentSummary } from "../../contract/control.ts";
import type { CommandDefinition } from "../command.ts";
import { localTime } from "../dates.ts";
import { columns, count, type Output } from "../output.ts";
import { mustBeName } from "../project.ts";
import { confirm, isForced } from "../prompt.ts";
import { APP_OPTIONS, openForApp } from "../server-options.ts";

export const envList: CommandDefinition = {
  description: "Lists the environments of an app with their state and the build they run.",
  examples: [["flash env list", "of the project in this folder"]],
  options: APP_OPTIONS,
  async run(invocation) {
    const { output, signal } = invocation;
    const { cloud, app } = await openForApp(invocation);
    const document = await cloud.environments(app, { signal });
    output.document(document);
    const { environments, exists } = document;
    if (environments.length === 0) {
      const what = exists ? `no environments for ${app}` : `no app named ${app} found`;
      output.print(`${what}\n  run flash deploy to create one`);
      return;
    }
    output.print(output.colors.bold(app));
    output.print(columns(environments.map(environmentRow), "  "));
  },
};

export const envCreate: CommandDefinition = {
  description: "Adds an environment before its first deployment, and its app when that is missing.",
  examples: [["flash env create staging", "'flash deploy --env staging' does it by itself"]],
  arguments: [["<name>", "name of the environment"]],
  options: APP_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const environment = args[0] ?? "";
    mustBeName("environment", environment);
    const { cloud, app } = await openForApp(invocation, { start: true });
    output.document(await cloud.createEnvironment({ app, environment }, { signal }));
    output.print(`${output.colors.green("✓")} created environment ${environment}`);
  },
};

export const envGet: CommandDefinition = {
  description:
    "Shows an environment: its state, its release and build, its endpoints with their URLs.",
  examples: [["flash env get staging", "state and endpoints"]],
  arguments: [["<name>", "name of the environment"]],
  options: APP_OPTIONS,
  async run(invocation) {
    const { args, output, signal } = invocation;
    const { cloud, app } = await openForApp(invocation);
    const document = await cloud.environment({ app, environment: args[0] ?? "" }, { signal });
    output.document(document);
    if (!output.json) print(document, output);
  },
};

export const envDelete: CommandDefinition = {
  description: "Removes an environment with its endpoints and their jobs. Asks first.",
  examples: [
    ["flash env delete staging", "asks first"],
    ["flash env delete staging --yes", "in a script"],
  ],
  arguments: [["<name>", "name of the environment"]],
  options: [["-y, --yes", "do not ask"], ["-f, --force", "the same as --yes"], ...APP_OPTIONS],
  async run(invocation) {
    const { args, output, signal } = invocation;
    const environment = args[0] ?? "";
    const { cloud, app } = await openForApp(invocation);
    const found = await cloud.environment({ app, environment }, { signal });
    if (!isForced(invocation)) {
      output.say(`deleting ${environment}\n${endpointRows(found)}`);
      const question = `are you sure? this will delete all resources in '${environment}'`;
      const action = `Deleting the environment '${environment}'`;
      if (!(await confirm(question, { action, flag: "--yes", signal }))) {
        output.say("cancelled");
        return;
      }
    }
    const removed = await cloud.deleteEnvironment({ app, environment }, { signal });
    output.document(removed);
    const { green } = output.colors;
    if (removed.endpoints.length > 0) {
      output.print(`${green("✓")} undeployed ${count(removed.endpoints.length, "resource")}`);
    }
    output.print(`${green("✓")} deleted environment ${environment}`);
  },
};

/** Name, state, build, and since when it exists. */
export function environmentRow({ name, state, build, createdAt }: EnvironmentSummary): string[] {
  return [name, state.toLowerCase(), build?.slice(0, 12) ?? "-", localTime(createdAt)];
}

function print(document: EnvironmentDocument, output: Output): void {
  const { bold, dim } = output.colors;
  output.print(`${bold(document.app)} / ${bold(document.name)}`);
  const rows = [
    ["state", document.state.toLowerCase()],
    ["release", document.version === null ? "-" : `${document.version}  ${document.release}`],
    ["build", document.build ?? "-"],
    ["created", localTime(document.createdAt)],
  ];
  output.print(dim(columns(rows, "  ")));
  output.print(
    document.deployments.length === 0
      ? `\nno resources. run flash deploy --env ${document.name}`
      : `\n${endpointRows(document)}`,
  );
}

function endpointRows({ deployments }: EnvironmentDocument): string {
  return columns(
    deployments.map(({ name, id, kind, url }) => [name, id, kind, url]),
    "  ",
  );
}
