/** `flash update`: installs another version of Flash the way this one was installed. */

import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { FlashError } from "../../contract/errors.ts";
import { closest } from "../../contract/names.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { ownVersion, PACKAGE_ROOT } from "../package.ts";
import { compareVersions, PACKAGE_NAME, published } from "../registry.ts";

const INSTALL_MS = 120_000;
/** So much of what a failed installer wrote is shown. */
const SHOWN_LINES = 5;

export const update: CommandDefinition = {
  description:
    "Installs the newest version of Flash, or the one that is named, the way this one was installed: in a " +
    "project with its package manager, or globally.",
  examples: [
    ["flash update", "to the newest version"],
    ["flash update --version 0.2.0", "to this one"],
  ],
  options: [["-V, --version <version>", "version to install; default: the newest release"]],
  async run(invocation) {
    const { cwd, env, output, signal } = invocation;
    const wanted = (invocation.options as { version?: string }).version?.replace(/^v/, "");
    const current = ownVersion();
    output.say(`Current version: ${current}`);
    output.say("Checking npm for available versions...");
    const { latest, versions } = await published({ cwd, env, signal });
    const target = wanted ?? latest;
    if (!versions.includes(target)) {
      const near = closest(target, versions);
      throw new FlashError("NOT_FOUND", `version ${target} not found on npm`, {
        hint: near === undefined ? `The newest is ${latest}.` : `Did you mean ${near}?`,
      });
    }
    const isDowngrade = compareVersions(target, current) < 0;
    // A pre-release may be newer than the newest release; nobody asked to go back from it.
    if (target === current || (wanted === undefined && isDowngrade)) {
      output.print(`Already on version ${current}. Nothing to do.`);
      output.document({ from: current, to: current, updated: false });
      return;
    }
    if (isDowngrade) output.warn(`${target} is older than ${current} (downgrade)`);
    const installer = installerOf(PACKAGE_ROOT);
    output.say(`Installing ${PACKAGE_NAME} ${target}...`);
    await install(installer, target, invocation);
    output.print(`${output.colors.green("✓")} Updated ${PACKAGE_NAME} ${current} -> ${target}`);
    output.document({ from: current, to: target, updated: true });
  },
};

/** How a package is installed where this one was. */
interface Installer {
  name: string;
  arguments: readonly string[];
  cwd: string;
}

/** Throws `NOT_SUPPORTED` where no package manager has put it. */
function installerOf(folder: string): Installer {
  const parts = folder.split(path.sep);
  const at = parts.indexOf("node_modules");
  if (at === -1) {
    throw new FlashError("NOT_SUPPORTED", `${folder} was not installed by a package manager.`, {
      hint: `Update the checkout there, or install Flash with 'npm install ${PACKAGE_NAME}'.`,
    });
  }
  if (parts.includes("_npx")) {
    throw new FlashError("NOT_SUPPORTED", "This is a copy that npx keeps.", {
      hint: `'npx ${PACKAGE_NAME}@latest …' always takes the newest.`,
    });
  }
  const root = parts.slice(0, at).join(path.sep) || path.sep;
  const manifest = path.join(root, "package.json");
  if (!existsSync(manifest)) return globalInstaller(folder, root);
  const name = projectManager(root);
  const { devDependencies } = JSON.parse(readFileSync(manifest, "utf8")) as {
    devDependencies?: Record<string, string>;
  };
  const isDev = devDependencies?.[PACKAGE_NAME] !== undefined;
  const flag = name === "npm" ? "--save-dev" : "-D";
  const verb = name === "npm" ? "install" : "add";
  return { name, arguments: [verb, ...(isDev ? [flag] : [])], cwd: root };
}

function globalInstaller(folder: string, root: string): Installer {
  const name = /[/\\]pnpm[/\\]/.test(folder)
    ? "pnpm"
    : /[/\\]\.bun[/\\]/.test(folder)
      ? "bun"
      : "npm";
  return { name, arguments: [name === "npm" ? "install" : "add", "-g"], cwd: root };
}

function projectManager(root: string): string {
  const locks = { "pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun" };
  const found = Object.entries(locks).find(([file]) => existsSync(path.join(root, file)));
  return found?.[1] ?? "npm";
}

async function install(
  installer: Installer,
  version: string,
  { env, signal }: Invocation,
): Promise<void> {
  const { name, cwd } = installer;
  const args = [...installer.arguments, `${PACKAGE_NAME}@${version}`];
  const timeout = AbortSignal.timeout(INSTALL_MS);
  const child = spawn(name, args, {
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    signal: AbortSignal.any([signal, timeout]),
    shell: process.platform === "win32",
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  }).catch((cause: unknown) => {
    if (signal.aborted) throw signal.reason;
    const message = timeout.aborted
      ? `install timed out after ${INSTALL_MS / 1000}s`
      : `${name} could not be started: ${(cause as Error).message}`;
    throw new FlashError("UNAVAILABLE", message, {
      hint: `In ${cwd}: ${name} ${args.join(" ")}`,
      cause,
    });
  });
  if (code === 0) return;
  const shown = said.trim().split("\n").slice(-SHOWN_LINES).join("\n  ");
  throw new FlashError("UNAVAILABLE", `${name} install failed (exit ${code}):\n  ${shown}`, {
    hint: `In ${cwd}: ${name} ${args.join(" ")}`,
  });
}
