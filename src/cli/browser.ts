/** Opening a page in the browser of whoever sits here. */

import { spawn } from "node:child_process";

/** A browser on the other end of a pipe or of a remote shell would be nobody's. */
export function canShow(env: NodeJS.ProcessEnv): boolean {
  return process.stdout.isTTY && !env.CI && !env.SSH_CONNECTION;
}

/** False when there is nothing that opens pages. */
export async function show(url: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  const [command, ...args] = openerOf(env);
  const child = spawn(command, [...args, url], { detached: true, stdio: "ignore" });
  return await new Promise<boolean>((resolve) => {
    child.once("error", () => resolve(false));
    child.once("spawn", () => {
      child.unref();
      resolve(true);
    });
  });
}

function openerOf(env: NodeJS.ProcessEnv): [string, ...string[]] {
  const chosen = env.BROWSER?.trim();
  if (chosen) return [chosen];
  if (process.platform === "darwin") return ["open"];
  // `start` takes its first quoted argument for a title.
  return process.platform === "win32" ? ["cmd", "/c", "start", ""] : ["xdg-open"];
}
