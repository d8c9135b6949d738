/**
 * What `tsc` has against the project's files. Asked in a process of its own, with less of the
 * processor than anything that serves: it takes a tenth of a second for a few files, and nobody waits for it.
 */

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { constants, getPriority, setPriority } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { finish, type Diagnostic, type Finding } from "../diagnostics.ts";

export interface TypeCheck {
  root: string;
  /** Path of the tsconfig to check with. */
  config: string;
  /** Ends it; the answer is undefined then. */
  signal: AbortSignal;
}

/** Errors in source files, sorted by place. Undefined when TypeScript did not get to look at them. */
export async function findTypeErrors({
  root,
  config,
  signal,
}: TypeCheck): Promise<Diagnostic[] | undefined> {
  const args = [compilerFile(), "-p", config, "--pretty", "false", "--singleThreaded"];
  // Options that are meant for the program of the user, such as --inspect, are not meant for this one.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(process.execPath, args, {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "ignore"],
    signal,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<number | undefined>((resolve) => {
    child.once("error", () => resolve(undefined));
    child.once("close", (code) => resolve(code ?? undefined));
  });
  giveWay(child.pid);
  const output = await text(child.stdout).catch(() => "");
  const code = await ended;
  return code === undefined || signal.aborted ? undefined : errorsOf(root, { code, output });
}

/** Before the wrapper becomes the compiler, whose threads then begin with the same priority. */
function giveWay(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, Math.max(getPriority(), constants.priority.PRIORITY_BELOW_NORMAL));
  } catch {
    // It has ended already.
  }
}

function compilerFile(): string {
  const require = createRequire(import.meta.url);
  const file = require.resolve("typescript/package.json");
  const { bin } = require(file) as { bin: { tsc: string } };
  return path.join(path.dirname(file), bin.tsc);
}

const ERROR = /^(?:(.+?)\((\d+),(\d+)\): )?error (TS\d+): (.*)$/;
const SOURCE = /\.[cm]?[jt]sx?$/;

function errorsOf(
  root: string,
  { code, output }: { code: number; output: string },
): Diagnostic[] | undefined {
  const errors = parse(output);
  const own = errors.filter(({ file }) => file !== undefined && SOURCE.test(file));
  // Errors in a tsconfig come alone: the sources were not looked at.
  if (code !== 0 && own.length === 0) return undefined;
  return finish(
    root,
    own.filter(({ file = "" }) => !file.split("/").includes("node_modules")),
  );
}

/** The lines of `tsc`; further lines of a message are indented. */
function parse(output: string): Finding[] {
  const errors: Finding[] = [];
  for (const line of output.split(/\r?\n/)) {
    const found = ERROR.exec(line);
    const last = errors.at(-1);
    if (found !== null) {
      const [, file, row, column, code = "", message = ""] = found;
      errors.push({
        severity: "error",
        message: `${message} (${code})`,
        ...(file === undefined ? {} : { file, line: Number(row), column: Number(column) }),
      });
    } else if (last !== undefined && line.startsWith(" ")) last.message += `\n${line}`;
  }
  return errors;
}
