/** `flash undeploy`: removes endpoints, after asking. */

import type { Cloud, Target } from "../../contract/cloud.ts";
import type { EndpointStatus } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/options.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { columns, count, type Output } from "../output.ts";
import { confirm, confirmPhrase, isForced } from "../prompt.ts";
import { openTarget, TARGET_OPTIONS, type TargetOptions } from "../target.ts";

interface Options extends TargetOptions {
  all?: true;
  interactive?: true;
  cleanupStale?: true;
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
    ["flash undeploy --all --env staging", "remove all endpoints of an environment"],
    ["flash undeploy --interactive", "choose from a list"],
    ["flash undeploy --all --force --json", "in a script"],
  ],
  arguments: [["[name]", "name or id of an endpoint, or 'list'"]],
  options: [
    ["--all", "all endpoints of the environment"],
    ["-i, --interactive", "choose the endpoints from a list"],
    ["--cleanup-stale", "those that cannot run any more: the server has lost their files"],
    ["-f, --force", "do not ask"],
    ["-y, --yes", "the same as --force"],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { args } = invocation;
    const options = invocation.options as Options;
    const [name] = args;
    mustNameOne(name, options);
    const { cloud, target } = await openTarget(invocation);
    const { endpoints, stale } = await deployed(cloud, target, invocation);
    const removal = { cloud, target, endpoints };
    if (name === "list") list(target, endpoints, invocation.output);
    else if (options.cleanupStale === true) await removeStale(removal, stale, invocation);
    else if (options.interactive === true) await removeChosen(removal, invocation);
    else if (name === undefined) await removeAll(removal, invocation);
    else await removeOne({ ...removal, name }, invocation);
  },
};

interface Removal {
  cloud: Cloud;
  target: Target;
  endpoints: readonly EndpointStatus[];
}

/** Throws `INVALID_USAGE` unless exactly one way to choose is given. */
function mustNameOne(name: string | undefined, options: Options): void {
  const ways = [name, options.all, options.interactive, options.cleanupStale];
  const given = ways.filter((way) => way !== undefined).length;
  if (given === 1) return;
  throw new FlashError(
    "INVALID_USAGE",
    given === 0
      ? "specify a name, use --all/--interactive, or run flash undeploy list"
      : "specify a name or --all, --interactive or --cleanup-stale, not several",
  );
}

/** An environment without a release has nothing to remove. */
async function deployed(
  cloud: Cloud,
  target: Target,
  { signal }: Invocation,
): Promise<{ endpoints: EndpointStatus[]; stale: EndpointStatus[] }> {
  try {
    const { endpoints, drift } = await cloud.status(target, { signal });
    const lost = new Set(drift.flatMap(({ name, reason }) => (reason === "files" ? [name] : [])));
    return { endpoints, stale: endpoints.filter(({ name }) => lost.has(name)) };
  } catch (error) {
    if (FlashError.is(error) && error.code === "NOT_DEPLOYED") return { endpoints: [], stale: [] };
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

async function removeStale(
  removal: Removal,
  stale: readonly EndpointStatus[],
  invocation: Invocation,
): Promise<void> {
  const { output, signal } = invocation;
  if (stale.length === 0) {
    output.print("no inactive endpoints");
    output.document({ ...removal.target, removed: [] });
    return;
  }
  const things = count(stale.length, "inactive endpoint");
  if (!isForced(invocation)) {
    output.say(table(stale));
    const asking = { action: `Removing ${things}`, flag: "--force", signal };
    if (!(await confirm(`remove ${things}?`, asking))) {
      output.say("cancelled");
      return;
    }
  }
  const removed = await removeEach(removal, stale, invocation);
  output.print(`removed ${count(removed.length, "endpoint")}`);
}

async function removeChosen(removal: Removal, invocation: Invocation): Promise<void> {
  const { endpoints } = removal;
  const { output, signal } = invocation;
  if (endpoints.length === 0) {
    output.print("no endpoints found");
    output.document({ ...removal.target, removed: [] });
    return;
  }
  const { selectMany } = await import("../select.ts");
  const chosen = await selectMany("select endpoints to delete:", {
    choices: table(endpoints).split("\n"),
    colors: output.talkColors,
    signal,
  });
  const picked = chosen.flatMap((index) => endpoints[index] ?? []);
  const things = count(picked.length, "endpoint");
  const asking = { action: `Deleting ${things}`, flag: "--force", signal };
  const isSure =
    picked.length > 0 && (isForced(invocation) || (await confirm(`delete ${things}?`, asking)));
  if (!isSure) {
    output.say("cancelled");
    return;
  }
  const removed = await removeEach(removal, picked, invocation);
  output.print(`${output.colors.green("✓")} deleted ${removed.length}/${things}`);
}

/** One after the other; a failure of one does not stop the rest. Throws the first one at the end. */
async function removeEach(
  { cloud, target }: Removal,
  endpoints: readonly EndpointStatus[],
  { output, signal }: Invocation,
): Promise<string[]> {
  const removed: string[] = [];
  const failures: unknown[] = [];
  for (const { name } of endpoints) {
    try {
      removed.push(...(await cloud.undeploy(target, name, { signal })).removed);
    } catch (error) {
      failures.push(error);
      output.say(`${output.talkColors.red("✗")} failed to delete ${name}`);
    }
  }
  if (failures.length > 0) throw failures[0];
  output.document({ ...target, removed });
  return removed;
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
