/** Where a command goes: which cloud, with which key, to which environment. */

import type { Cloud, Target } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { isLoopback } from "../contract/server-proof.ts";
import { openCloud, serverUrl } from "../clouds/clouds.ts";
import type { Invocation, OptionDefinition } from "./command.ts";
import { flashHome } from "./home.ts";
import { LocalServer } from "./local-server.ts";
import { mustBeName, openProject, type Project } from "./project.ts";

/** The target that is the server of this machine, whatever its port. */
export const THIS_MACHINE = "local";

/** The options that every command about a deployment has. */
export interface TargetOptions {
  app?: string;
  env?: string;
  target?: string;
  port?: number;
}

export const TARGET_OPTIONS: readonly OptionDefinition[] = [
  ["-a, --app <name>", "app; default: FLASH_APP, flash.toml, the project folder's name"],
  ["-e, --env <name>", "environment; default: FLASH_ENV, flash.toml, the only one, production"],
  ["--target <url>", "server; default: FLASH_URL, flash.toml, the server of this machine"],
  ["--port <number>", "port of the server of this machine; default: FLASH_PORT, 4747", parsePort],
];

export interface Destination {
  cloud: Cloud;
  /** Opens it. */
  key: string | undefined;
  /** The server is the one of this machine's FLASH_HOME. */
  isLocal: boolean;
}

/** A port number from the command line or the environment. Throws `INVALID_USAGE`. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text.trim()) && port <= 65_535) return port;
  throw new FlashError("INVALID_USAGE", `A port is a whole number from 0 to 65535, got '${text}'.`);
}

/**
 * The cloud that the flags, the environment or flash.toml name, else the server of this machine; with
 * `start` that one is started when it does not run. Throws `SERVER_NOT_RUNNING`, `CONFLICT`.
 */
export async function openDestination(
  invocation: Invocation,
  project: Project,
  { start }: { start: boolean },
): Promise<Destination> {
  const { env, output, shellEnv, signal } = invocation;
  const options = invocation.options as TargetOptions;
  const named = options.port === undefined ? namedTarget(options, env, project) : undefined;
  const givenKey = env.FLASH_API_KEY?.trim() || undefined;
  const local = new LocalServer(flashHome(env));
  if (named !== undefined) {
    const url = serverUrl(named);
    if (givenKey !== undefined) return destination(url, givenKey, { isLocal: false });
    const { findCredential } = await import("./credentials.ts");
    const saved = (await findCredential(flashHome(env), url))?.key;
    if (saved !== undefined) return destination(url, saved, { isLocal: false });
    // The key of this machine's server must not travel to another machine.
    const ownKey = isLoopback(url) ? await local.keyFor(url, signal) : undefined;
    return destination(url, ownKey, { isLocal: false });
  }
  const port = options.port ?? portOf(env);
  if (!start) {
    const { localUrl } = await local.find(port, signal);
    return destination(localUrl, givenKey ?? (await local.key()), { isLocal: true });
  }
  const running = await local.start({ port, env: shellEnv, signal });
  if (running.isNew) output.say(`started the Flash server at ${running.url}`);
  return destination(running.localUrl, givenKey ?? (await local.key()), { isLocal: true });
}

/** A destination, and what it is asked about there. */
export interface OpenTarget extends Destination {
  project: Project;
  target: Target;
}

/**
 * The environment that a command is about, on a server that runs. Throws `SERVER_NOT_RUNNING`, and
 * `CONFLICT` when there are several environments to choose from.
 */
export async function openTarget(invocation: Invocation): Promise<OpenTarget> {
  const { cwd, env } = invocation;
  const { app } = invocation.options as TargetOptions;
  const project = openProject({ cwd, env, app });
  const destination = await openDestination(invocation, project, { start: false });
  const { environment } = await chooseEnvironment(invocation, project, destination.cloud);
  return { ...destination, project, target: { app: project.app, environment } };
}

/** The server that is named, as by --target. Throws `INVALID_USAGE` when it is this machine's. */
export function remoteServer(invocation: Invocation): string {
  const { cwd, env } = invocation;
  const options = invocation.options as TargetOptions;
  const project = openProject({ cwd, env, app: undefined });
  const named = options.port === undefined ? namedTarget(options, env, project) : undefined;
  if (named !== undefined) return serverUrl(named);
  throw new FlashError("INVALID_USAGE", "The server of this machine needs no login.", {
    hint: "Name another one: --target https://flash.example.com, or FLASH_URL.",
  });
}

function destination(
  url: string,
  key: string | undefined,
  { isLocal }: { isLocal: boolean },
): Destination {
  return { cloud: openCloud(url, key), key, isLocal };
}

/** FLASH_PORT. Throws `INVALID_USAGE` when it is no port. */
export function portOf(env: NodeJS.ProcessEnv): number | undefined {
  const text = env.FLASH_PORT?.trim();
  return text ? parsePort(text) : undefined;
}

function namedTarget(
  options: TargetOptions,
  env: NodeJS.ProcessEnv,
  project: Project,
): string | undefined {
  const environment = wantedEnvironment(options, env, project);
  const { environments, target } = project.config;
  const own = environment === undefined ? undefined : environments[environment]?.target;
  const named = options.target ?? (env.FLASH_URL?.trim() || (own ?? target));
  return named === THIS_MACHINE ? undefined : named;
}

/** The environment that is asked for: `--env`, FLASH_ENV, flash.toml. Throws `INVALID_USAGE`. */
export function wantedEnvironment(
  options: Pick<TargetOptions, "env">,
  env: NodeJS.ProcessEnv,
  { config }: Project,
): string | undefined {
  const wanted = options.env ?? (env.FLASH_ENV?.trim() || config.environment);
  if (wanted !== undefined) mustBeName("environment", wanted);
  return wanted;
}

/**
 * The environment to work on: `--env`, FLASH_ENV, flash.toml, the only one there is, `production`.
 * Throws `CONFLICT` when there are several to choose from.
 */
export async function chooseEnvironment(
  invocation: Invocation,
  project: Project,
  cloud: Cloud,
): Promise<{ environment: string; existing: string[]; hasApp: boolean }> {
  const { env, signal } = invocation;
  const wanted = wantedEnvironment(invocation.options, env, project);
  const { environments, exists } = await cloud.environments(project.app, { signal });
  const existing = environments.map(({ name }) => name);
  const [only] = existing;
  if (wanted === undefined && existing.length > 1) {
    throw new FlashError("CONFLICT", `Multiple environments found: ${existing.join(", ")}`, {
      hint: "Please specify with --env <name>",
    });
  }
  return { environment: wanted ?? only ?? DEFAULTS.environment, existing, hasApp: exists };
}
