/** Variables that a command sees: the shell's, and below them those of the nearest `.env`. */

import { nearestDotEnv } from "../kit/dot-env.ts";

export interface Surroundings {
  env: NodeJS.ProcessEnv;
  shellEnv: NodeJS.ProcessEnv;
  dotEnv: Readonly<Record<string, string>>;
}

/** Settings of the dev server in a `.env`; the server of this machine, which reads them from the shell, is not the project's. */
const OF_DEV_SERVER = new Set(["FLASH_HOST", "FLASH_PORT"]);

/** Source: spec/cli.md 19. What is set stays as it is, empty or not. */
export function readSurroundings(cwd: string, shellEnv: NodeJS.ProcessEnv): Surroundings {
  const { variables = {} } = nearestDotEnv(cwd) ?? {};
  const isMissing = ([name]: [string, string]): boolean => shellEnv[name] === undefined;
  const missing = Object.entries(variables).filter(isMissing);
  const general = missing.filter(([name]) => !OF_DEV_SERVER.has(name));
  return {
    env: { ...shellEnv, ...Object.fromEntries(general) },
    shellEnv,
    dotEnv: Object.fromEntries(missing),
  };
}
