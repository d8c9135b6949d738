/**
 * Programs in a terminal of their own: a pseudo-terminal made by `script` of util-linux. Where there is
 * none (other systems), tests that need one are skipped and say so.
 */

import { spawn, spawnSync } from "node:child_process";

/** Why there is no terminal here; undefined when there is one. */
export const NO_TERMINAL: string | undefined = /util-linux/.test(
  spawnSync("script", ["--version"], { encoding: "utf8" }).stdout ?? "",
)
  ? undefined
  : "needs 'script' of util-linux for a pseudo-terminal";

export interface InTerminal {
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** What a person types, each as soon as the screen shows its question. */
  typed?: readonly (readonly [shown: RegExp, keys: string])[];
}

export interface Screen {
  code: number | null;
  /** Everything shown, with plain line ends. stdout and stderr are one here. */
  text: string;
  /** Questions that never came. */
  unasked: readonly RegExp[];
}

/** Ends a program that waits for keys which the test does not type, ms. */
const PATIENCE_MS = 150_000;

export async function runInTerminal(
  command: readonly string[],
  { cwd, env, typed = [] }: InTerminal,
): Promise<Screen> {
  const line = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const child = spawn("script", ["-q", "-e", "-c", line, "/dev/null"], {
    cwd,
    env: { ...env, TERM: "xterm" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
  let text = "";
  let answered = 0;
  const waiting = [...typed];
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const found = next[0].exec(text.slice(answered));
      if (found === null) break;
      answered += found.index + found[0].length;
      child.stdin.write(next[1]);
      waiting.shift();
    }
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  clearTimeout(timer);
  child.stdin.destroy();
  return { code, text: text.replaceAll("\r", ""), unasked: waiting.map(([shown]) => shown) };
}
