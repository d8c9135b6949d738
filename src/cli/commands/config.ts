/** `flash config`: every setting with its origin. */

import { rm } from "node:fs/promises";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/names.ts";
import { resolveOptions, type EndpointOptions } from "../../contract/options.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { EVERY_ENDPOINT } from "../config.ts";
import { columns, type Output } from "../output.ts";
import { openProject, type Project } from "../project.ts";
import { namedEndpoints, projectSettings, tomlSettings, type Setting } from "../settings.ts";
import { TARGET_OPTIONS, wantedEnvironment, type TargetOptions } from "../target.ts";

export const config: CommandDefinition = {
  description:
    "Prints every setting with its origin. The strongest that says something counts: flag, environment " +
    "variable, flash.toml, code, default. With an endpoint, its options: the project is read for that. " +
    "Keys and secrets are never printed.",
  examples: [
    ["flash config", "of the project in this folder"],
    ["flash config user-service --env staging", "options of an endpoint there"],
    ["flash config --json", "for programs"],
  ],
  arguments: [["[endpoint]", "name of an endpoint"]],
  options: TARGET_OPTIONS,
  async run(invocation) {
    const { args, cwd, dotEnv, env, output, shellEnv } = invocation;
    const options = invocation.options as TargetOptions;
    const [endpoint] = args;
    const project = openProject({ cwd, env, app: options.app });
    const environment = wantedEnvironment(options, env, project);
    if (endpoint !== undefined) {
      const settings = await endpointSettings(endpoint, { project, environment }, invocation);
      output.document({ endpoint, environment: environment ?? null, settings });
      output.print(table(settings, output));
      return;
    }
    const settings = projectSettings({ project, options, env, shellEnv, dotEnv });
    const endpoints = namedEndpoints(project.config, environment).map((name) => ({
      name,
      settings: tomlSettings(project, name, environment),
    }));
    output.document({ root: project.root, settings, endpoints });
    output.print(table(settings, output));
    for (const one of endpoints) {
      const name = one.name === EVERY_ENDPOINT ? "every endpoint" : one.name;
      output.print(`\n${output.colors.bold(name)}\n${table(one.settings, output)}`);
    }
  },
};

interface Place {
  project: Project;
  environment: string | undefined;
}

/** Options of one endpoint: flash.toml's, then what the code says, then the defaults. */
async function endpointSettings(
  name: string,
  { project, environment }: Place,
  invocation: Invocation,
): Promise<Setting[]> {
  const declared = await readCode(project, name, invocation);
  const fromToml = tomlSettings(project, name, environment);
  const taken = new Set(fromToml.map(({ key }) => key));
  const basis: EndpointOptions = declared.options.cpu === null ? {} : { cpu: declared.options.cpu };
  const defaults = resolveOptions({ name, ...basis }, declared.kind, name);
  const fromCode = Object.entries(declared.options).flatMap(([key, value]): Setting[] => {
    if (key === "name" || isShadowed(key, taken)) return [];
    if (key === "env") return variables(declared.options.env, taken);
    const usual = defaults[key as keyof typeof defaults];
    const isUsual = key !== "cpu" && JSON.stringify(value) === JSON.stringify(usual);
    return value === null ? [] : [{ key, value, origin: isUsual ? "default" : "code" }];
  });
  return [...fromToml, ...fromCode].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** What flash.toml calls otherwise than the manifest does. */
const RESOLVED_FROM: Readonly<Record<string, string>> = {
  workersMin: "workers",
  workersMax: "workers",
  volumes: "volume",
  datacenters: "datacenter",
};

function isShadowed(key: string, taken: ReadonlySet<string>): boolean {
  if (
    (key === "cpu" || key === "gpu" || key === "gpuCount") &&
    (taken.has("cpu") || taken.has("gpu"))
  ) {
    return key !== "gpuCount" || taken.has("cpu") || taken.has("gpuCount");
  }
  return taken.has(RESOLVED_FROM[key] ?? key);
}

function variables(env: Readonly<Record<string, string>>, taken: ReadonlySet<string>): Setting[] {
  return Object.entries(env)
    .map(([name, value]) => ({ key: `env.${name}`, value, origin: "code" }))
    .filter(({ key }) => !taken.has(key));
}

/** The endpoint as the code alone declares it. Throws `ENDPOINT_NOT_FOUND`, `BUILD_FAILED`. */
async function readCode(
  { root, app }: Project,
  name: string,
  { dotEnv, signal }: Invocation,
): Promise<EndpointManifest> {
  const { buildProject, workFolderIn } = await import("../../compiler/compiler.ts");
  // Inside the project, where its packages are found; not where 'flash build' or another one of us writes.
  const outDir = workFolderIn(path.join(root, ".flash"));
  try {
    const built = await buildProject({ root, app, outDir, env: dotEnv, signal });
    const { endpoints } = built.manifest;
    const found = endpoints.find((one) => one.name === name);
    if (found !== undefined) return found;
    const names = endpoints.map((one) => one.name);
    const near = closest(name, names);
    throw new FlashError("ENDPOINT_NOT_FOUND", `The project has no endpoint '${name}'.`, {
      hint: near === undefined ? `Its endpoints: ${names.join(", ")}.` : `Did you mean '${near}'?`,
    });
  } finally {
    await rm(outDir, { recursive: true, force: true });
  }
}

function table(settings: readonly Setting[], { colors }: Output): string {
  const text = (value: unknown): string =>
    typeof value === "string" ? value : JSON.stringify(value);
  return columns(
    settings.map(({ key, value, origin }) => [colors.bold(key), text(value), colors.dim(origin)]),
    "  ",
  );
}
