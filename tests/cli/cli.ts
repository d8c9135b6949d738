/** The real command in child processes, run from the sources: no build has to be up to date. */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Program, run, type Finished } from "../support/program.ts";
import { ROOT, type Owner } from "../support/temp.ts";

export const ENTRY: string = path.join(ROOT, "src", "cli", "main.ts");

export interface Machine {
  /** FLASH_HOME; does not exist yet. */
  home: string;
  cwd: string;
  env: NodeJS.ProcessEnv;
  flash: (...args: string[]) => Promise<Finished>;
  start: (...args: string[]) => Program;
}

/**
 * A home, an empty working folder, and nothing of the caller's own FLASH_ settings. Its server, if the
 * test starts one, is stopped with the test.
 */
export function machine(owner: Owner, settings: NodeJS.ProcessEnv = {}): Machine {
  const base = mkdtempSync(path.join(tmpdir(), "flash-cli-"));
  const home = path.join(base, "home");
  const cwd = path.join(base, "work");
  mkdirSync(cwd);
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(FLASH_|NODE_TEST_CONTEXT$|FORCE_COLOR$)/.test(name),
  );
  const env = { ...Object.fromEntries(inherited), FLASH_HOME: home, NO_COLOR: "1", ...settings };
  const command = (args: string[]): [string, ...string[]] => [process.execPath, ENTRY, ...args];
  owner.after(async () => {
    // Only then may the folder go: a server without its home could not be found again.
    if (existsSync(path.join(home, "server.json"))) {
      await run(command(["server", "stop"]), { cwd: base, env });
    }
    rmSync(base, { recursive: true, force: true, maxRetries: 20 });
  });
  return {
    home,
    cwd,
    env,
    flash: (...args) => run(command(args), { cwd, env }),
    start: (...args) => Program.start(owner, command(args), { cwd, env }),
  };
}
