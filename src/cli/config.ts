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
 *   [endpoints.user-service]       # options of Endpoint(), they win over the code
 *   workers = [1, 5]
 *   idle_timeout_s = 30            # or idleTimeoutS
 *   env = { LOG_LEVEL = "debug" }
 *
 * Unknown keys are mistakes, not silence: a misspelt setting in a deployment is found in production.
 */

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parse, TomlError } from "smol-toml";
import { FlashError } from "../contract/errors.ts";
import { GpuType } from "../contract/hardware.ts";
import type { Manifest } from "../contract/manifest.ts";
import {
  checkName,
  checkOptions,
  closest,
  OPTION_NAMES,
  type EndpointOptions,
} from "../contract/options.ts";

/** Options of an endpoint that flash.toml may set. */
export type EndpointOverrides = Omit<EndpointOptions, "name" | "id" | "input" | "output">;

export interface ProjectConfig {
  app?: string;
  target?: string;
  environment?: string;
  /** Patterns of files to ship. */
  include?: readonly string[];
  endpoints: Record<string, EndpointOverrides>;
}

export const CONFIG_FILE = "flash.toml";

const OVERRIDABLE = OPTION_NAMES.filter(
  (name) => !["name", "id", "input", "output"].includes(name),
);

type Table = Record<string, unknown>;
type KeyPath = readonly string[];

interface Mistake {
  at: KeyPath;
  message: string;
  hint?: string;
}

/** The project's flash.toml; empty when there is none. Throws `INVALID_CONFIG` with every mistake. */
export function readConfig(root: string): ProjectConfig {
  const file = path.join(root, CONFIG_FILE);
  if (!existsSync(file)) return { endpoints: {} };
  return parseConfig(readFileSync(file, "utf8"));
}

/** Throws `INVALID_CONFIG` with every mistake and its line. */
export function parseConfig(text: string): ProjectConfig {
  const mistakes: Mistake[] = [];
  const config = read(parseToml(text), mistakes);
  if (mistakes.length > 0) throw configError(mistakes, text);
  return config;
}

/** What flash.toml says about an endpoint, as the compiler asks for it. */
export function overridesOf(
  config: ProjectConfig,
): (name: string) => Partial<EndpointOptions> | undefined {
  return (name) => (Object.hasOwn(config.endpoints, name) ? config.endpoints[name] : undefined);
}

/** Throws `INVALID_CONFIG` when the file names an endpoint that the project does not have. */
export function checkEndpointNames(config: ProjectConfig, manifest: Manifest, root: string): void {
  const known = manifest.endpoints.map(({ name }) => name);
  const mistakes = Object.keys(config.endpoints)
    .filter((name) => !known.includes(name))
    .map((name) => unknownEndpoint(name, known));
  if (mistakes.length === 0) return;
  throw configError(mistakes, readFileSync(path.join(root, CONFIG_FILE), "utf8"));
}

function unknownEndpoint(name: string, known: readonly string[]): Mistake {
  const near = closest(name, known);
  return {
    at: ["endpoints", name],
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
  checkKeys(document, [], ["app", "build", "deploy", "endpoints"], mistakes);
  const app = tableAt(document, ["app"], mistakes);
  const build = tableAt(document, ["build"], mistakes);
  const deploy = tableAt(document, ["deploy"], mistakes);
  checkKeys(app, ["app"], ["name"], mistakes);
  checkKeys(build, ["build"], ["include"], mistakes);
  checkKeys(deploy, ["deploy"], ["target", "environment"], mistakes);
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
    endpoints: readEndpoints(tableAt(document, ["endpoints"], mistakes), mistakes),
  };
}

function readEndpoints(table: Table, mistakes: Mistake[]): Record<string, EndpointOverrides> {
  return Object.fromEntries(
    Object.keys(table).map((name) => {
      const at = ["endpoints", name];
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

function configError(mistakes: readonly Mistake[], text: string): FlashError {
  const lines = linesOfKeys(text);
  const diagnostics = mistakes.map(({ at, message, hint }) => ({
    file: CONFIG_FILE,
    line: lineOf(at, lines),
    message,
    ...(hint === undefined ? {} : { hint }),
  }));
  const source = text.split("\n");
  const shown = diagnostics.map(({ file, line, message, hint }) =>
    [
      `${file}:${line}: ${message}`,
      `    ${line} | ${source[line - 1]?.trimEnd() ?? ""}`,
      ...(hint === undefined ? [] : [`    ${hint}`]),
    ].join("\n"),
  );
  return new FlashError("INVALID_CONFIG", shown.join("\n  "), { details: { diagnostics } });
}

/** The line of the key, or of the innermost table around it that the file writes down. */
function lineOf(at: KeyPath, lines: ReadonlyMap<string, number>): number {
  for (let length = at.length; length > 0; length--) {
    const line = lines.get(JSON.stringify(at.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 1;
}

/** The first line of every key path. The parser has accepted the text; it does not keep positions. */
function linesOfKeys(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$/.exec(line)?.[1];
    const key = /^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=/.exec(line)?.[1];
    if (header !== undefined) table = keyPath(header);
    else if (key === undefined) continue;
    const full = header === undefined ? [...table, ...keyPath(key ?? "")] : table;
    for (let length = 1; length <= full.length; length++) {
      const prefix = JSON.stringify(full.slice(0, length));
      if (!lines.has(prefix)) lines.set(prefix, index + 1);
    }
  }
  return lines;
}

/** `endpoints."my.api".env` → its three keys. */
function keyPath(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare ?? "",
  );
}
