/**
 * Checks the npm package as users get it: packs it, lints its manifest and its types, looks at the
 * list of files, and installs it in an empty folder.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

interface Packed {
  filename: string;
  size: number;
  unpackedSize: number;
  files: { path: string; size: number }[];
}

const root = path.dirname(import.meta.dirname);
const folder = mkdtempSync(path.join(tmpdir(), "flash-package-"));
try {
  const packed = pack();
  const tarball = path.join(folder, packed.filename);
  const mistakes = checkFiles(packed.files.map((file) => file.path));
  if (mistakes.length > 0) fail(mistakes.join("\n"));
  run("publint", [tarball]);
  run("attw", [tarball, "--profile", "esm-only", "--format", "ascii"], { quiet: true });
  checkInstall(tarball);
  console.log(
    `package: ${packed.files.length} files, ${kilobytes(packed.size)} packed, ${kilobytes(packed.unpackedSize)} unpacked`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function pack(): Packed {
  const [packed] = JSON.parse(
    run("npm", ["pack", "--json", "--pack-destination", folder], { quiet: true }),
  ) as Packed[];
  return packed ?? fail("npm pack named no package");
}

function checkFiles(files: readonly string[]): string[] {
  const needed = [
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "bin/flash.js",
    "dist/sdk/sdk.js",
    "dist/sdk/sdk.d.ts",
    "dist/cli/main.js",
    "dist/cli/LICENSES.txt",
    "dist/flash.schema.json",
    "dist/runtime/worker.mjs",
    "dist/runtime/live.mjs",
    "dist/runtime/relay.mjs",
    "dist/api-browser/swagger-ui-bundle.js",
  ];
  const foreign = /^(src|tests|examples|bench|scripts|docs|\.ci|\.flash)\/|\.env$|\.tgz$|\.test\./;
  return [
    ...needed.filter((file) => !files.includes(file)).map((file) => `missing: ${file}`),
    ...(files.some((file) => file.startsWith("templates/")) ? [] : ["missing: templates/"]),
    ...files.filter((file) => foreign.test(file)).map((file) => `does not belong: ${file}`),
  ];
}

/** Installs the tarball in an empty folder and starts the command and the SDK from there. */
function checkInstall(tarball: string): void {
  writeFileSync(path.join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  run("npm", ["install", "--no-audit", "--no-fund", tarball], { cwd: folder, quiet: true });
  const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    version: string;
  };
  const flash = path.join(folder, "node_modules", ".bin", "flash");
  const said = run(flash, ["--version"], { cwd: folder, quiet: true });
  if (!said.includes(version)) fail(`flash --version says ${said}, not ${version}`);
  const script = 'import { Endpoint } from "runpod-flash"; console.log(typeof Endpoint)';
  const type = run(process.execPath, ["--input-type=module", "-e", script], {
    cwd: folder,
    quiet: true,
  });
  if (type.trim() !== "function") fail(`Endpoint of the installed package is ${type}`);
}

/** Runs a command to its end and returns what it wrote; ends this program when it fails. */
function run(
  command: string,
  args: readonly string[],
  { cwd = root, quiet = false }: { cwd?: string; quiet?: boolean } = {},
): string {
  const result = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (!quiet || result.status !== 0) process.stdout.write(`${result.stdout}${result.stderr}`);
  if (result.status !== 0) fail(`${command} ${args.join(" ")} failed`);
  return result.stdout;
}

function kilobytes(bytes: number): string {
  return `${Math.round(bytes / 1024)} KiB`;
}

function fail(message: string): never {
  rmSync(folder, { recursive: true, force: true });
  console.error(message);
  process.exit(1);
}
