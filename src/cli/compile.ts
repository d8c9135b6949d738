/** The build that `flash build` and `flash deploy` share. */

import { rename } from "node:fs/promises";
import path from "node:path";
import {
  buildProject,
  formatDiagnostics,
  type BuildResult,
  type Diagnostic,
} from "../compiler/compiler.ts";
import type { Artifact } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import type { Manifest } from "../contract/manifest.ts";
import type { WorkerPlatform } from "../contract/platform.ts";
import { checkEndpointNames, overridesOf } from "./config.ts";
import type { Output } from "./output.ts";
import { STEP_WORDS } from "./progress.ts";
import type { Project } from "./project.ts";

export interface CompileOptions {
  /** Name of the archive inside `.flash/`. */
  output?: string;
  /** Package names, separated by commas. */
  exclude?: string;
}

export interface Compiled {
  manifest: Manifest;
  artifact: Artifact;
  manifestFile: string;
  /** How many project files are in the bundles. */
  files: number;
  warnings: unknown[];
  tookMs: number;
  /** All that the compiler tells. */
  built: BuildResult;
}

/** Throws `BUILD_FAILED` with every mistake of the project, `INVALID_CONFIG` for flash.toml's. */
export async function compile(
  project: Project,
  use: {
    options: CompileOptions;
    /** For the project's code while it is evaluated. */
    dotEnv: Readonly<Record<string, string>>;
    output: Output;
    signal: AbortSignal;
    /** What workers run on; default: this machine. */
    platform?: WorkerPlatform;
    /** Whose part of flash.toml counts besides what holds for all. */
    environment: string | undefined;
  },
): Promise<Compiled> {
  const { root, app, config } = project;
  const started = performance.now();
  const name = archiveName(use.options.output);
  const color = use.output.talkColors.isColorSupported;
  const built = await buildProject({
    root,
    app,
    env: use.dotEnv,
    overrides: overridesOf(config, use.environment),
    exclude: listOf(use.options.exclude),
    include: () => config.include ?? [],
    signal: use.signal,
    onStep: (step) => use.output.progress.show(STEP_WORDS[step]),
    ...(use.platform === undefined ? {} : { platform: use.platform }),
  })
    .catch((error: unknown) => {
      throw color && !use.output.json ? inColor(error) : error;
    })
    .finally(() => use.output.progress.clear());
  checkEndpointNames(config, built.manifest, root);
  if (built.warnings.length > 0) use.output.say(formatDiagnostics(built.warnings, { color }));
  const file = name === undefined ? built.artifactFile : await moveTo(name, built.artifactFile);
  return {
    manifest: built.manifest,
    artifact: { ...built.artifact, file },
    manifestFile: built.manifestFile,
    files: built.files,
    warnings: built.warnings,
    tookMs: performance.now() - started,
    built,
  };
}

function inColor(error: unknown): unknown {
  if (!FlashError.is(error) || error.code !== "BUILD_FAILED") return error;
  const diagnostics = error.details?.diagnostics as Diagnostic[] | undefined;
  if (diagnostics === undefined) return error;
  const { details, hint } = error;
  const text = formatDiagnostics(diagnostics, { color: true });
  return new FlashError("BUILD_FAILED", `${text}\n`, {
    ...(details === undefined ? {} : { details }),
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}

/** Throws `INVALID_USAGE`: a path would let an archive overwrite anything. */
function archiveName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  if (/^[\w][\w.-]*$/.test(name)) return name;
  throw new FlashError(
    "INVALID_USAGE",
    `--output is the name of a file inside .flash/, got '${name}'.`,
  );
}

async function moveTo(name: string, file: string): Promise<string> {
  const moved = path.join(path.dirname(file), name);
  await rename(file, moved);
  return moved;
}

function listOf(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}
