/** The project a command works on: its root folder and its app's name. */

import { existsSync } from "node:fs";
import path from "node:path";
import { FlashError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { checkName } from "../contract/options.ts";
import { readConfig, type ProjectConfig } from "./config.ts";

export interface Project {
  root: string;
  config: ProjectConfig;
  /** `--app`, else FLASH_APP, else flash.toml, else the root folder's name. */
  app: string;
}

/** Throws `INVALID_CONFIG` for a wrong flash.toml, `INVALID_USAGE` for a wrong name. */
export function openProject(where: {
  cwd: string;
  env: NodeJS.ProcessEnv;
  app?: string | undefined;
}): Project {
  const root = projectRoot(where.cwd);
  const config = readConfig(root);
  const fromEnv = where.env.FLASH_APP?.trim() || undefined;
  const app = where.app ?? fromEnv ?? config.app ?? validName(path.basename(root));
  mustBeName("app", app);
  return { root, config, app };
}

/** The nearest folder upward that holds flash.toml or package.json, else the folder itself. */
export function projectRoot(cwd: string): string {
  for (let folder = path.resolve(cwd); ; folder = path.dirname(folder)) {
    if (["flash.toml", "package.json"].some((file) => existsSync(path.join(folder, file)))) {
      return folder;
    }
    if (folder === path.dirname(folder)) return path.resolve(cwd);
  }
}

/** Throws `INVALID_USAGE` when an app or environment cannot be called that. */
export function mustBeName(what: "app" | "environment", name: string): void {
  const mistake = checkName(name);
  if (mistake === undefined) return;
  throw new FlashError("INVALID_USAGE", `The ${what}'s name ${mistake}.`, {
    hint: `Choose another with ${what === "app" ? "--app" : "--env"}.`,
  });
}

/** A folder's name as an app's name: `my app (2)` becomes `my-app-2`. */
export function validName(text: string): string {
  const plain = text
    .replaceAll(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, LIMITS.nameLength)
    .replace(/[^A-Za-z0-9]+$/, "");
  return plain === "" || plain.toLowerCase() === "flash" ? "app" : plain;
}
