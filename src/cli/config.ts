/**
 * flash.toml, the optional project file:
 *
 *   [app]
 *   name = "shop"
 *
 *   [deploy]
 *   target = "https://flash.example.com"
 *   environment = "staging"
 *
 *   [build]
 *   include = ["data/", "*.sql"]   # files to ship that no import names; written as in a .gitignore
 *
 *   [endpoints."*"]                # options of Endpoint(), for all endpoints of the app
 *   idle_timeout_s = 30            # or idleTimeoutS
 *
 *   [endpoints.user-service]       # for one
 *   workers = [1, 5]
 *   env = { LOG_LEVEL = "debug" }
 *
 *   [env.staging]                  # where this environment differs; `flash run` is the environment dev
 *   target = "https://staging.example.com"
 *
 *   [env.staging.endpoints.user-service]
 *   workers = [0, 1]
 *
 * The code is the weakest. Over it come, each stronger than the one before: `[endpoints."*"]`,
 * `[endpoints.NAME]`, `[env.ENV.endpoints."*"]`, `[env.ENV.endpoints.NAME]`. Variables of `env` add up;
 * every other option replaces.
 *
 * Unknown keys are mistakes, not silence: a misspelt setting in a deployment is found in production.
 * Which keys there are, and what they may be, is in `config-schema.ts`.
 */

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parse, TomlError } from "smol-toml";
import { FlashError } from "../contract/errors.ts";
import { GpuType } from "../contract/hardware.ts";
import type { Manifest } from "../contract/manifest.ts";
import { checkName, checkOptions, closest, type EndpointOptions } from "../contract/options.ts";
import { CONFIG_FILE, configError, type KeyPath, type Mistake } from "./config-mistakes.ts";
import {
  ENVIRONMENT_KEYS,
  OVERRIDABLE,
  SECTIONS,
  type EndpointOverrides,
} from "./config-schema.ts";

export { CONFIG_FILE } from "./config-mistakes.ts";
export type { EndpointOverrides } from "./config-schema.ts";

export interface ProjectConfig {
  app?: string;
  target?: string;
  environment?: string;
  /** Patterns of files to ship. */
  include?: readonly string[];
  /** By name; {@link EVERY_ENDPOINT} for all. */
  endpoints: Record<string, EndpointOverrides>;
  /** Where environments differ, by name. */
  environments: Record<string, EnvironmentConfig>;
}

export interface EnvironmentConfig {
  target?: string;
  endpoints: Record<string, EndpointOverrides>;
}

/** No endpoint can have this name. */
export const EVERY_ENDPOINT = "*";

type Table = Record<string, unknown>;

/** The project's flash.toml; empty when there is none. Throws `INVALID_CONFIG` with every mistake. */
export function readConfig(root: string): ProjectConfig {
  const file = path.join(root, CONFIG_FILE);
  if (!existsSync(file)) return { endpoints: {}, environments: {} };
  return parseConfig(readFileSync(file, "utf8"));
}

/** Throws `INVALID_CONFIG` with every mistake and its line. */
export function parseConfig(text: string): ProjectConfig {
  const mistakes: Mistake[] = [];
  const config = read(parseToml(text), mistakes);
  if (mistakes.length > 0) throw configError(mistakes, text);
  return config;
}

/**
 * What flash.toml says about an endpoint in an environment, as the compiler asks for it. Without an
 * environment only what holds for all of them.
 */
export function overridesOf(
  config: ProjectConfig,
  environment?: string,
): (name: string) => Partial<EndpointOptions> | undefined {
  return (name) => {
    const layers = layersOf(config, name, environment);
    return layers.length === 0 ? undefined : layers.map(({ options }) => options).reduce(over);
  };
}

/** What says something about an endpoint, the weakest first. */
export function layersOf(
  config: ProjectConfig,
  name: string,
  environment?: string,
): { at: KeyPath; options: EndpointOverrides }[] {
  const own = environment === undefined ? undefined : ownOf(config.environments, environment);
  const tables: [KeyPath, Record<string, EndpointOverrides> | undefined][] = [
    [["endpoints"], config.endpoints],
    [["env", environment ?? "", "endpoints"], own?.endpoints],
  ];
  return tables.flatMap(([at, table]) =>
    [EVERY_ENDPOINT, name].flatMap((key) => {
      const options = ownOf(table ?? {}, key);
      return options === undefined ? [] : [{ at: [...at, key], options }];
    }),
  );
}

/** Choosing the other hardware replaces the weaker choice rather than contradicting it. */
function over(weak: EndpointOverrides, strong: EndpointOverrides): EndpointOverrides {
  const { cpu, gpu, ...rest } = weak;
  const choosesHardware = strong.cpu !== undefined || strong.gpu !== undefined;
  return {
    ...rest,
    ...(choosesHardware || cpu === undefined ? {} : { cpu }),
    ...(choosesHardware || gpu === undefined ? {} : { gpu }),
    ...strong,
    ...(weak.env === undefined && strong.env === undefined
      ? {}
      : { env: { ...weak.env, ...strong.env } }),
  };
}

function ownOf<T>(table: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** Throws `INVALID_CONFIG` when the file names an endpoint that the project does not have. */
export function checkEndpointNames(config: ProjectConfig, manifest: Manifest, root: string): void {
  const known = manifest.endpoints.map(({ name }) => name);
  const named: KeyPath[] = [
    ...Object.keys(config.endpoints).map((name) => ["endpoints", name]),
    ...Object.entries(config.environments).flatMap(([environment, { endpoints }]) =>
      Object.keys(endpoints).map((name) => ["env", environment, "endpoints", name]),
    ),
  ];
  const mistakes = named
    .filter((at) => at.at(-1) !== EVERY_ENDPOINT && !known.includes(at.at(-1) ?? ""))
    .map((at) => unknownEndpoint(at, known));
  if (mistakes.length === 0) return;
  throw configError(mistakes, readFileSync(path.join(root, CONFIG_FILE), "utf8"));
}

function unknownEndpoint(at: KeyPath, known: readonly string[]): Mistake {
  const name = at.at(-1) ?? "";
  const near = closest(name, known);
  return {
    at,
    message: `the project has no endpoint '${name}'`,
    hint:
      near === undefined
        ? `Its endpoints: ${known.join(", ") || "none"}.`
        : `Did you mean '${near}'?`,
  };
}

function parseToml(text: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = "", ...frame] = error.message.trimEnd().split("\n");
    const what = reason.replace(/^Invalid TOML document: /, "");
    throw new FlashError(
      "INVALID_CONFIG",
      [`${CONFIG_FILE}:${error.line}:${error.column}: ${what}`, ...frame].join("\n"),
      { details: { file: CONFIG_FILE, line: error.line, column: error.column }, cause: error },
    );
  }
}

function read(document: Table, mistakes: Mistake[]): ProjectConfig {
  checkKeys(document, [], [...Object.keys(SECTIONS), "endpoints", "env"], mistakes);
  const app = tableAt(document, ["app"], mistakes);
  const build = tableAt(document, ["build"], mistakes);
  const deploy = tableAt(document, ["deploy"], mistakes);
  checkKeys(app, ["app"], Object.keys(SECTIONS.app), mistakes);
  checkKeys(build, ["build"], Object.keys(SECTIONS.build), mistakes);
  checkKeys(deploy, ["deploy"], Object.keys(SECTIONS.deploy), mistakes);
  const name = textAt(app, ["app", "name"], mistakes);
  const include = textsAt(build, ["build", "include"], mistakes);
  const target = textAt(deploy, ["deploy", "target"], mistakes);
  const environment = textAt(deploy, ["deploy", "environment"], mistakes);
  checkNameAt(name, ["app", "name"], mistakes);
  checkNameAt(environment, ["deploy", "environment"], mistakes);
  return {
    ...(name === undefined ? {} : { app: name }),
    ...(include === undefined ? {} : { include }),
    ...(target === undefined ? {} : { target }),
    ...(environment === undefined ? {} : { environment }),
    endpoints: readEndpoints(document, ["endpoints"], mistakes),
    environments: readEnvironments(tableAt(document, ["env"], mistakes), mistakes),
  };
}

function readEnvironments(table: Table, mistakes: Mistake[]): Record<string, EnvironmentConfig> {
  return Object.fromEntries(
    Object.keys(table).map((name): [string, EnvironmentConfig] => {
      const at = ["env", name];
      const own = tableAt(table, [name], mistakes, at);
      checkNameAt(name, at, mistakes);
      checkKeys(own, at, ENVIRONMENT_KEYS, mistakes);
      const target = textAt(own, [...at, "target"], mistakes);
      const endpoints = readEndpoints(own, [...at, "endpoints"], mistakes);
      return [name, { ...(target === undefined ? {} : { target }), endpoints }];
    }),
  );
}

function readEndpoints(
  parent: Table,
  above: KeyPath,
  mistakes: Mistake[],
): Record<string, EndpointOverrides> {
  const table = tableAt(parent, ["endpoints"], mistakes, above);
  return Object.fromEntries(
    Object.keys(table).map((name) => {
      const at = [...above, name];
      return [name, readOverrides(tableAt(table, [name], mistakes, at), at, mistakes)];
    }),
  );
}

function readOverrides(table: Table, at: KeyPath, mistakes: Mistake[]): EndpointOverrides {
  const overrides: Table = {};
  const keys = new Map<string, string>();
  for (const [key, value] of Object.entries(table)) {
    const option = camelCase(key);
    if (!(OVERRIDABLE as readonly string[]).includes(option)) {
      mistakes.push(unknownKey([...at, key], OVERRIDABLE));
    } else if (keys.has(option)) {
      mistakes.push({
        at: [...at, key],
        message: `'${key}' and '${keys.get(option)}' are the same option; keep one`,
      });
    } else {
      keys.set(option, key);
      overrides[option] = fromToml(option, value);
    }
  }
  // Some options ask for a name, which the endpoint has in the code.
  const named = { ...overrides, name: "endpoint" } as EndpointOptions;
  for (const { option, message, hint } of checkOptions(named)) {
    const place = [...at, keys.get(option) ?? option];
    mistakes.push({ at: place, message, ...(hint === undefined ? {} : { hint }) });
  }
  return overrides;
}

/** What TOML cannot say as TypeScript does: keys of nested options in snake_case, names of constants. */
function fromToml(option: string, value: unknown): unknown {
  if (option === "gpu") return mapOneOrMany(value, gpuOf);
  if (option === "template" || option === "volume") return mapOneOrMany(value, withCamelCaseKeys);
  // The parser's tables have no prototype; everybody else's objects have one.
  return isTable(value) ? { ...value } : value;
}

function mapOneOrMany(value: unknown, map: (one: unknown) => unknown): unknown {
  return Array.isArray(value) ? value.map((one) => map(one)) : map(value);
}

/** `NVIDIA_L4`, as `GpuType.NVIDIA_L4` in code, means "NVIDIA L4". */
function gpuOf(value: unknown): unknown {
  return typeof value === "string" && Object.hasOwn(GpuType, value)
    ? GpuType[value as keyof typeof GpuType]
    : value;
}

function withCamelCaseKeys(value: unknown): unknown {
  if (!isTable(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [camelCase(key), one]));
}

function checkKeys(table: Table, at: KeyPath, known: readonly string[], mistakes: Mistake[]): void {
  for (const key of Object.keys(table)) {
    if (!known.includes(key)) mistakes.push(unknownKey([...at, key], known));
  }
}

function unknownKey(at: KeyPath, known: readonly string[]): Mistake {
  const key = at.at(-1) ?? "";
  const near = closest(camelCase(key), known);
  const where = at.length === 1 ? CONFIG_FILE : `[${at.slice(0, -1).join(".")}]`;
  return {
    at,
    message: `unknown key '${key}' in ${where}`,
    hint: near === undefined ? `Known keys: ${known.join(", ")}.` : `Did you mean '${near}'?`,
  };
}

function tableAt(parent: Table, at: KeyPath, mistakes: Mistake[], full: KeyPath = at): Table {
  const value = parent[at.at(-1) ?? ""];
  if (value === undefined) return {};
  if (isTable(value)) return value;
  mistakes.push({ at: full, message: `'${full.join(".")}' must be a table: [${full.join(".")}]` });
  return {};
}

function textAt(table: Table, at: KeyPath, mistakes: Mistake[]): string | undefined {
  const value = table[at.at(-1) ?? ""];
  if (value === undefined) return undefined;
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  mistakes.push({ at, message: `'${at.join(".")}' must be a text that is not empty` });
  return undefined;
}

function textsAt(table: Table, at: KeyPath, mistakes: Mistake[]): string[] | undefined {
  const value = table[at.at(-1) ?? ""];
  if (value === undefined) return undefined;
  const isText = (one: unknown): one is string => typeof one === "string" && one.trim() !== "";
  if (Array.isArray(value) && value.every(isText)) return value;
  mistakes.push({ at, message: `'${at.join(".")}' must be a list of texts, as in ["data/"]` });
  return undefined;
}

function checkNameAt(name: string | undefined, at: KeyPath, mistakes: Mistake[]): void {
  const wrong = name === undefined ? undefined : checkName(name);
  if (wrong !== undefined) mistakes.push({ at, message: `'${at.join(".")}' ${wrong}` });
}

function isTable(value: unknown): value is Table {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)
  );
}

function camelCase(key: string): string {
  return key.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
