/** `flash build`: checks and bundles the project, without deploying it. */

import type { CommandDefinition, OptionDefinition } from "../command.ts";
import type { BuildResult, EndpointSize } from "../../compiler/compiler.ts";
import type { CompileOptions } from "../compile.ts";
import { columns, count, megabytes, seconds, type Output } from "../output.ts";
import { openProject } from "../project.ts";
import { wantedEnvironment } from "../target.ts";

/** `flash deploy` builds as well, so it takes the same flags. */
export const BUILD_OPTIONS: readonly OptionDefinition[] = [
  ["-o, --output <name>", "name of the archive inside .flash/; default: artifact.tar.gz"],
  ["--exclude <packages>", "packages to leave out, separated by commas"],
  ["--no-deps", "accepted for scripts of the original: what is imported is bundled here"],
];

export const build: CommandDefinition = {
  description:
    "Finds the project's endpoints, checks names, routes and types, and packs what a worker needs into " +
    ".flash/artifact.tar.gz, with .flash/flash_manifest.json to read. Every mistake is reported at once. " +
    "Needs no key and no server.",
  examples: [
    ["flash build", "check and pack the project"],
    ["flash build --json", "with the list of endpoints, for programs"],
    ["flash build --exclude torch,numpy", "leave packages out"],
    ["flash build --explain", "what each endpoint consists of, and what took how long"],
  ],
  options: [
    ["-a, --app <name>", "app; default: FLASH_APP, flash.toml, the folder's name"],
    ["-e, --env <name>", "apply its part of flash.toml; default: FLASH_ENV, flash.toml, none"],
    ...BUILD_OPTIONS,
    ["--explain", "show the largest parts of each endpoint, and the time of each step"],
  ],
  async run(invocation) {
    const { cwd, dotEnv, env, output, signal } = invocation;
    const options = invocation.options as CompileOptions & {
      app?: string;
      env?: string;
      explain?: true;
    };
    const project = openProject({ cwd, env, app: options.app });
    const environment = wantedEnvironment(options, env, project);
    const { compile } = await import("../compile.ts");
    const built = await compile(project, { options, dotEnv, output, signal, environment });
    const { manifest, artifact, files, tookMs } = built;
    const size = `${count(manifest.endpoints.length, "endpoint")}, ${count(files, "file")}, ${megabytes(artifact.bytes)}`;
    output.print(
      `${output.colors.green("✓")} built ${manifest.app}  ${size}  ${output.colors.dim(seconds(tookMs))}`,
    );
    output.print(`  Archive: ${artifact.file}\n  Build:   ${built.manifestFile}`);
    const sizes = options.explain === true ? await sizesOf(built.built) : undefined;
    if (sizes !== undefined) explain(sizes, built.built.timings, output);
    output.document({
      app: manifest.app,
      archive: artifact.file,
      manifest: built.manifestFile,
      digest: artifact.digest,
      bytes: artifact.bytes,
      files,
      endpoints: manifest.endpoints.map(({ name, kind, functions }) => ({
        name,
        kind,
        routes: functions.flatMap(({ route }) => route ?? []),
      })),
      warnings: built.warnings,
      ...(sizes === undefined ? {} : { explain: { sizes, timings: built.built.timings } }),
    });
  },
};

async function sizesOf(built: BuildResult): Promise<EndpointSize[]> {
  const { explainSizes } = await import("../../compiler/compiler.ts");
  return explainSizes(built);
}

/** How many parts of an endpoint are worth a line. */
const LARGEST = 8;

function explain(
  sizes: readonly EndpointSize[],
  timings: Readonly<Record<string, number>>,
  output: Output,
): void {
  const { bold, dim } = output.colors;
  for (const { name, codeBytes, mapBytes, installedBytes, parts } of sizes) {
    const installed = installedBytes === 0 ? "" : `, ${megabytes(installedBytes)} of packages`;
    const map = dim(`(and ${megabytes(mapBytes)} of source map)`);
    output.print(`\n${bold(name)}  ${megabytes(codeBytes)} of code${installed} ${map}`);
    const rows = parts
      .slice(0, LARGEST)
      .map((part) => [
        megabytes(part.bytes),
        `${Math.round((part.bytes / (codeBytes + installedBytes)) * 100)}%`,
        part.name,
        dim(part.kind),
      ]);
    output.print(columns(rows, "  "));
    if (parts.length > LARGEST) output.print(dim(`  and ${parts.length - LARGEST} more`));
  }
  const steps = Object.entries(timings).map(([step, ms]) => [`  ${step}`, `${Math.round(ms)} ms`]);
  output.print(`\n${bold("Time")}\n${columns(steps)}`);
}
