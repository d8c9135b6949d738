/**
 * What the SDK reads from its surroundings, always at the time of a call: variables, and Node's
 * built-in modules where there are any. Nothing here is imported statically, so that the SDK also
 * loads in browsers and edge runtimes.
 */

import { FlashError } from "../contract/flash-error.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { registry } from "../contract/registry.ts";
import { nearestDotEnv } from "../kit/dot-env.ts";
import { configured } from "./configure.ts";

type NodeProcess = Pick<
  NodeJS.Process,
  "env" | "cwd" | "getBuiltinModule" | "execPath" | "emitWarning"
>;

/** Node's `process`, or undefined elsewhere. */
export function nodeProcess(): NodeProcess | undefined {
  const { process } = globalThis as { process?: NodeProcess };
  return typeof process?.getBuiltinModule === "function" ? process : undefined;
}

/**
 * A variable, else a script's nearest `.env`, else what `configure()` has set in its place; blank
 * means unset.
 */
export function readVariable(name: string): string | undefined {
  const { process } = globalThis as { process?: Partial<NodeProcess> };
  const value = process?.env?.[name] ?? dotEnv()[name];
  return filled(value) ?? filled(configured(name));
}

let known: { folder: string; variables: Readonly<Record<string, string>> } | undefined;

/** Read once for a working folder, by scripts alone: a worker's environment is what it was given. */
function dotEnv(): Readonly<Record<string, string>> {
  const folder = registry().mode === "script" ? nodeProcess()?.cwd() : undefined;
  if (folder === undefined) return {};
  if (known?.folder !== folder) {
    known = { folder, variables: nearestDotEnv(folder)?.variables ?? {} };
  }
  return known.variables;
}

function filled(text: string | undefined): string | undefined {
  const value = text?.trim();
  return value === "" ? undefined : value;
}

/** A base URL without a slash at the end. Throws `INVALID_CONFIG`. */
export function readUrl(name: string): string | undefined {
  const text = readVariable(name);
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) {
    return text.replace(/\/+$/, "");
  }
  throw new FlashError("INVALID_CONFIG", `${name}=${text} is not a valid http/https URL`, {
    hint: `Set ${name} to the address of a Flash server, such as http://127.0.0.1:${DEFAULTS.serverPort}.`,
  });
}

/** FLASH_MODE. Throws `INVALID_CONFIG` for anything but `local` and `remote`. */
export function readMode(): "local" | "remote" | undefined {
  const mode = readVariable("FLASH_MODE");
  if (mode === undefined || mode === "local" || mode === "remote") return mode;
  throw new FlashError("INVALID_CONFIG", `FLASH_MODE must be local or remote, got '${mode}'`, {
    hint: "FLASH_MODE=local runs every function in this process, FLASH_MODE=remote none. Leave it out to let Flash decide.",
  });
}

/** The text of a file, or undefined when it cannot be read. */
export function readTextFile(file: string): string | undefined {
  try {
    return nodeProcess()?.getBuiltinModule("node:fs").readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** FLASH_APP, else the name in `flash.toml`, else the name of the current directory. */
export function appName(): string {
  const named = readVariable("FLASH_APP");
  if (named !== undefined) return named;
  const folder = nodeProcess()?.cwd() ?? "";
  return (
    tomlAppName(readTextFile(`${folder}/flash.toml`) ?? "") ?? /[^/\\]*$/.exec(folder)?.[0] ?? ""
  );
}

/** FLASH_ENV, else `production`. */
export function environmentName(): string {
  return readVariable("FLASH_ENV") ?? DEFAULTS.environment;
}

/** FLASH_HOME, else `~/.flash`; undefined where there is no file system. */
export function homeFolder(): string | undefined {
  const set = readVariable("FLASH_HOME");
  if (set !== undefined) return set;
  const os = nodeProcess()?.getBuiltinModule("node:os");
  return os === undefined ? undefined : `${os.homedir()}/.flash`;
}

/**
 * `name` in the table `[app]`, a plain string in either kind of quotes. The one value of the file
 * that a script needs; a whole TOML reader would outweigh the rest of the SDK.
 */
export function tomlAppName(text: string): string | undefined {
  const table = /^[ \t]*\[[ \t]*app[ \t]*\][^\n]*\n((?:(?![ \t]*\[)[^\n]*(?:\n|$))*)/m.exec(
    text,
  )?.[1];
  const line = /^[ \t]*name[ \t]*=[ \t]*(?:"([^"\\\n]+)"|'([^'\n]+)')/m.exec(table ?? "");
  return line?.[1] ?? line?.[2];
}
