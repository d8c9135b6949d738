/**
 * Makes the container image of the server (`npm run image`): packs the package and builds
 * images/Dockerfile. Arguments are passed on to `docker build`: `--tag`, `--build-arg BASE=…`.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, copyFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const root = path.dirname(import.meta.dirname);
const folder = mkdtempSync(path.join(tmpdir(), "flash-image-"));
try {
  const packed = run(["npm", "pack", "--json", "--pack-destination", folder], "pipe");
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  copyFileSync(path.join(folder, filename), path.join(folder, "runpod-flash.tgz"));
  rmSync(path.join(folder, filename));
  const given = process.argv.slice(2);
  const tag = given.some((one) => /^(-t|--tag)\b/.test(one)) ? [] : ["--tag", "flash-server"];
  run(["docker", "build", ...tag, "--file", "images/Dockerfile", ...given, folder], "inherit");
} catch (error) {
  console.error(`image: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run([command = "", ...args]: string[], stdout: "pipe" | "inherit"): string {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", stdout, "inherit"],
  });
  if (result.status === 0) return result.stdout ?? "";
  throw new Error(`${command} ${args[0]} failed (${result.error?.message ?? result.status})`);
}
