/** `flash build`: checks and bundles the project, without deploying it. */

import type { CommandDefinition, OptionDefinition } from "../command.ts";
import type { CompileOptions } from "../compile.ts";
import { count, megabytes, seconds } from "../output.ts";
import { openProject } from "../project.ts";

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
  ],
  options: [
    ["-a, --app <name>", "app; default: FLASH_APP, flash.toml, the folder's name"],
    ...BUILD_OPTIONS,
  ],
  async run(invocation) {
    const { cwd, env, output, signal } = invocation;
    const options = invocation.options as CompileOptions & { app?: string };
    const project = openProject({ cwd, env, app: options.app });
    const { compile } = await import("../compile.ts");
    const built = await compile(project, { options, env, output, signal });
    const { manifest, artifact, files, tookMs } = built;
    const size = `${count(manifest.endpoints.length, "endpoint")}, ${count(files, "file")}, ${megabytes(artifact.bytes)}`;
    output.print(
      `${output.colors.green("✓")} built ${manifest.app}  ${size}  ${output.colors.dim(seconds(tookMs))}`,
    );
    output.print(`  Archive: ${artifact.file}\n  Build:   ${built.manifestFile}`);
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
    });
  },
};
