/** What a command would use, value by value, each with the place it comes from. */

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { DEFAULTS } from "../contract/limits.ts";
import { serverUrl } from "../clouds/clouds.ts";
import { CONFIG_FILE, layersOf, type ProjectConfig } from "./config.ts";
import { lineOfKey, type KeyPath } from "./config-mistakes.ts";
import { flashHome } from "./home.ts";
import type { Project } from "./project.ts";
import { THIS_MACHINE, wantedEnvironment, type TargetOptions } from "./target.ts";

export interface Setting {
  key: string;
  value: unknown;
  /** `--app`, `FLASH_APP`, `flash.toml:3`, `code`, `default`: the strongest that says something. */
  origin: string;
}

/** A value, if this origin has one. */
type Candidate = readonly [value: unknown, origin: string];

interface Surroundings {
  project: Project;
  options: TargetOptions;
  env: NodeJS.ProcessEnv;
  shellEnv: NodeJS.ProcessEnv;
  dotEnv: Readonly<Record<string, string>>;
}

/**
 * Settings of the project as a whole. Flag > environment > flash.toml > default. Throws
 * `INVALID_CONFIG` for a target that is no server.
 */
export function projectSettings({ project, options, ...variables }: Surroundings): Setting[] {
  const { config, root } = project;
  const from = tomlOrigins(root);
  const { env, shellEnv, dotEnv } = variables;
  const origin = (name: string): string => (name in dotEnv ? `.env: ${name}` : name);
  const variable = (name: string): Candidate => [env[name]?.trim() || undefined, origin(name)];
  const ofDevServer = (name: string): Candidate => [
    shellEnv[name]?.trim() || dotEnv[name]?.trim() || undefined,
    origin(name),
  ];
  const environment = wantedEnvironment(options, env, project);
  const own = environment === undefined ? undefined : config.environments[environment]?.target;
  const home = flashHome(env);
  return [
    first("app", [
      [options.app, "--app"],
      variable("FLASH_APP"),
      [config.app, from(["app", "name"])],
      [project.app, "default: the folder's name"],
    ]),
    first("environment", [
      [options.env, "--env"],
      variable("FLASH_ENV"),
      [config.environment, from(["deploy", "environment"])],
      [DEFAULTS.environment, "default: the only one there is, else production"],
    ]),
    mustBeServer(
      first("target", [
        [options.port === undefined ? options.target : undefined, "--target"],
        [options.port === undefined ? undefined : THIS_MACHINE, "--port"],
        variable("FLASH_URL"),
        [own, from(["env", environment ?? "", "target"])],
        [config.target, from(["deploy", "target"])],
        [THIS_MACHINE, "default: the server of this machine"],
      ]),
    ),
    first("key", [
      [env.FLASH_API_KEY?.trim() ? "set" : undefined, origin("FLASH_API_KEY")],
      [existsSync(path.join(home, "key")) ? "set" : undefined, path.join(home, "key")],
      ["none", "default: made with the first start of the server"],
    ]),
    first("home", [variable("FLASH_HOME"), [home, "default"]]),
    first("server port", [
      [options.port, "--port"],
      variable("FLASH_PORT"),
      [DEFAULTS.serverPort, "default"],
    ]),
    first("run host", [ofDevServer("FLASH_HOST"), ["localhost", "default"]]),
    first("run port", [ofDevServer("FLASH_PORT"), [DEFAULTS.devPort, "default"]]),
    first("build include", [
      [config.include, from(["build", "include"])],
      [[], "default: what is imported"],
    ]),
  ];
}

/** What flash.toml says about an endpoint, the strongest place of each option. */
export function tomlSettings(
  { config, root }: Project,
  endpoint: string,
  environment: string | undefined,
): Setting[] {
  const from = tomlOrigins(root);
  const found = new Map<string, Setting>();
  for (const { at, options } of layersOf(config, endpoint, environment)) {
    for (const [key, value] of Object.entries(options)) {
      if (key === "cpu") found.delete("gpu");
      if (key === "gpu") found.delete("cpu");
      if (key === "env") addVariables(value, { at, from, found });
      else found.set(key, { key, value, origin: from([...at, key]) });
    }
  }
  return [...found.values()];
}

/** Names that flash.toml has anything to say about. */
export function namedEndpoints(config: ProjectConfig, environment: string | undefined): string[] {
  const own = environment === undefined ? undefined : config.environments[environment];
  return [...new Set([...Object.keys(config.endpoints), ...Object.keys(own?.endpoints ?? {})])];
}

/** Variables add up, so each has an origin of its own. */
function addVariables(
  variables: unknown,
  to: { at: KeyPath; from: (at: KeyPath) => string; found: Map<string, Setting> },
): void {
  for (const [name, value] of Object.entries(variables as Record<string, unknown>)) {
    const key = `env.${name}`;
    to.found.set(key, { key, value, origin: to.from([...to.at, "env", name]) });
  }
}

function mustBeServer(setting: Setting): Setting {
  if (setting.value !== THIS_MACHINE) serverUrl(String(setting.value));
  return setting;
}

function first(key: string, candidates: readonly Candidate[]): Setting {
  const [value, origin] = candidates.find(([one]) => one !== undefined) ?? [null, "default"];
  return { key, value, origin };
}

/** `flash.toml:7`; keys may be written in snake_case. */
function tomlOrigins(root: string): (at: KeyPath) => string {
  const file = path.join(root, CONFIG_FILE);
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return (at) => `${CONFIG_FILE}:${lineOfKey(at, text)}`;
}
