/** `flash open`: the page of an endpoint, or of what 'flash run' serves, in a browser. */

import { FlashError } from "../../contract/errors.ts";
import { DEFAULTS } from "../../contract/limits.ts";
import { closest } from "../../contract/names.ts";
import { canShow, show } from "../browser.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { openProject } from "../project.ts";
import {
  openDestination,
  openTarget,
  portOf,
  TARGET_OPTIONS,
  type TargetOptions,
} from "../target.ts";

interface Options extends TargetOptions {
  print?: true;
}

/** A dev server on this machine answers at once, ms. */
const PROBE_MS = 1000;

export const open: CommandDefinition = {
  description:
    "Opens a page in the browser and prints its address: the API pages of 'flash run' when it runs, else the " +
    "API description of the server; with an endpoint, that endpoint. Without a browser or a terminal it only " +
    "prints. Deployed addresses want the key, which a browser does not send.",
  examples: [
    ["flash open", "/docs of 'flash run', or the server"],
    ["flash open user-service", "a deployed endpoint"],
    ["flash open --print", "the address alone"],
  ],
  arguments: [["[endpoint]", "name of a deployed endpoint"]],
  options: [["--print", "print the address, open nothing"], ...TARGET_OPTIONS],
  async run(invocation) {
    const { args, env, output } = invocation;
    const { print } = invocation.options as Options;
    const [endpoint] = args;
    const url =
      endpoint === undefined ? await pageOf(invocation) : await urlOf(endpoint, invocation);
    const isOpened = print !== true && canShow(env) && (await show(url, env));
    output.document({ url, opened: isOpened });
    output.print(url);
  },
};

async function pageOf(invocation: Invocation): Promise<string> {
  const { cwd, dotEnv, env } = invocation;
  const options = invocation.options as TargetOptions;
  const isAboutServer = options.target !== undefined || options.port !== undefined;
  const dev = `http://localhost:${portOf({ ...dotEnv, ...env }) ?? DEFAULTS.devPort}`;
  if (!isAboutServer && (await isDevServer(dev))) return `${dev}/docs`;
  const project = openProject({ cwd, env, app: options.app });
  const { cloud } = await openDestination(invocation, project, { start: false });
  return `${cloud.target}/api/v1/openapi.json`;
}

async function isDevServer(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_MS) });
    const { message } = (await response.json()) as { message?: unknown };
    return message === "Flash Dev Server";
  } catch {
    return false;
  }
}

async function urlOf(name: string, invocation: Invocation): Promise<string> {
  const { cloud, target } = await openTarget(invocation);
  const { endpoints } = await cloud.status(target, { signal: invocation.signal });
  const found = endpoints.find((one) => one.name === name || one.id === name);
  if (found !== undefined)
    return `${found.url}${found.kind === "qb" ? "/health" : "/openapi.json"}`;
  const names = endpoints.map((one) => one.name);
  const near = closest(name, names);
  throw new FlashError("ENDPOINT_NOT_FOUND", `There is no endpoint '${name}'.`, {
    hint:
      near === undefined
        ? `Deployed are ${names.join(", ") || "none"}.`
        : `Did you mean '${near}'?`,
  });
}
