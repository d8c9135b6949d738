/** `flash undeploy`: removes endpoints, after asking. */

import type { Cloud, Target } from "../../contract/cloud.ts";
import type { EndpointStatus } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/options.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { columns, count, type Output } from "../output.ts";
import { openProject } from "../project.ts";
import { confirm, confirmPhrase } from "../prompt.ts";
import {
  chooseEnvironment,
  openDestination,
  TARGET_OPTIONS,
  type TargetOptions,
} from "../target.ts";

interface Options extends TargetOptions {
  all?: true;
  force?: true;
  yes?: true;
}

/** What has to be typed before everything is removed. */
const PHRASE = "DELETE ALL";

export const undeploy: CommandDefinition = {
  description:
    "Removes one endpoint of an environment, or all of them with their jobs. Asks first; without a " +
    "terminal it does nothing unless --force is given.",
  examples: [
    ["flash undeploy list", "what could be removed"],
    ["flash undeploy user-service", "remove one endpoint"],
    ["flash undeploy --all --env staging", "remove a whole environment"],
    ["flash undeploy --all --force --json", "in a script"],
  ],
  arguments: [["[name]", "name or id of an endpoint, or 'list'"]],
  options: [
    ["--all", "all endpoints of the environment"],
    ["-f, --force", "do not ask"],
    ["-y, --yes", "the same as --force"],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { args, cwd, env } = invocation;
    const options = invocation.options as Options;
    const [name] = args;
    if ((name === undefined) === (options.all === undefined)) {
      throw new FlashError(
        "INVALID_USAGE",
        name === undefined
          ? "specify a name, use --all, or run flash undeploy list"
          : "specify a name or --all, not both",
      );
    }
    const project = openProject({ cwd, env, app: options.app });
    const { cloud } = await openDestination(invocation, project, { start: false });
    const { environment } = await chooseEnvironment(invocation, project, cloud);
    const target = { app: project.app, environment };
    const endpoints = await deployed(cloud, target, invocation);
    if (name === "list") list(target, endpoints, invocation.output);
    else if (name === undefined) await removeAll({ cloud, target, endpoints }, invocation);
    else await removeOne({ cloud, target, endpoints, name }, invocation);
  },
};

interface Removal {
  cloud: Cloud;
  target: Target;
  endpoints: readonly EndpointStatus[];
}

/** An environment without a release has nothing to remove. */
async function deployed(
  cloud: Cloud,
  target: Target,
  { signal }: Invocation,
): Promise<EndpointStatus[]> {
  try {
    return (await cloud.status(target, { signal })).endpoints;
  } catch (error) {
    if (FlashError.is(error) && error.code === "NOT_DEPLOYED") return [];
    throw error;
  }
}

function list(target: Target, endpoints: readonly EndpointStatus[], output: Output): void {
  output.document({
    ...target,
    endpoints: endpoints.map(({ name, id, kind, state }) => ({ name, id, kind, state })),
  });
  if (endpoints.length === 0) output.print("no endpoints found");
  else output.print(table(endpoints));
}

function table(endpoints: readonly EndpointStatus[]): string {
  return columns(endpoints.map(({ name, id, kind, state }) => [name, id, kind, state]));
}

async function removeOne(
  removal: Removal & { name: string },
  invocation: Invocation,
): Promise<void> {
  const { endpoints, name, target } = removal;
  const { output, signal } = invocation;
  const found = endpoints.find((endpoint) => endpoint.name === name || endpoint.id === name);
  if (found === undefined) throw unknown(name, target, endpoints);
  if (!isForced(invocation)) {
    output.say(table([found]));
    const action = `Deleting '${found.name}'`;
    if (!(await confirm("delete?", { action, flag: "--force", signal }))) {
      output.say("cancelled");
      return;
    }
  }
  const document = await removal.cloud.undeploy(target, found.name, { signal });
  output.print(`${output.colors.green("✓")} deleted ${found.name}`);
  output.document(document);
}

async function removeAll(removal: Removal, invocation: Invocation): Promise<void> {
  const { cloud, endpoints, target } = removal;
  const { output, signal } = invocation;
  if (endpoints.length === 0) {
    output.print("no endpoints found");
    output.document({ ...target, removed: [] });
    return;
  }
  if (!isForced(invocation)) {
    const things = count(endpoints.length, "endpoint");
    output.say(table(endpoints));
    const asking = { action: `Deleting all ${things}`, flag: "--force", signal };
    if (!(await confirm(`delete all ${things}?`, asking))) {
      output.say("cancelled");
      return;
    }
    if (!(await confirmPhrase(PHRASE, asking))) throw new FlashError("CANCELLED", "cancelled");
  }
  const document = await cloud.undeploy(target, undefined, { signal });
  const { removed } = document;
  output.print(
    `${output.colors.green("✓")} deleted ${removed.length}/${count(endpoints.length, "endpoint")}`,
  );
  output.document(document);
}

function isForced(invocation: Invocation): boolean {
  const { force, yes } = invocation.options as Options;
  return force === true || yes === true;
}

function unknown(
  name: string,
  { app, environment }: Target,
  endpoints: readonly EndpointStatus[],
): FlashError {
  const known = endpoints.map((endpoint) => endpoint.name);
  const near = closest(name, known);
  const list = known.length === 0 ? "It has none." : `It has: ${known.join(", ")}.`;
  return new FlashError(
    "ENDPOINT_NOT_FOUND",
    `no endpoint named '${name}' in ${app} / ${environment}`,
    {
      hint: near === undefined ? list : `Did you mean '${near}'?`,
    },
  );
}
