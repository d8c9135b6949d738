/** FLASH_HOME: all state of the Flash server on this machine. */

import { homedir } from "node:os";
import path from "node:path";

/** Absolute path: FLASH_HOME, else `~/.flash`. */
export function flashHome(env: NodeJS.ProcessEnv): string {
  const home = env.FLASH_HOME?.trim();
  return home ? path.resolve(home) : path.join(homedir(), ".flash");
}

/** What a server in the background writes to stderr. */
export function serverLogFile(home: string): string {
  return path.join(home, "logs", "server.log");
}
