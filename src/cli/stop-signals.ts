/** Ctrl-C, SIGTERM and their like, for commands that run until they are stopped. */

import type { Invocation } from "./command.ts";

/** How soon the end of the npm that started us is noticed, ms. */
const LAUNCHER_CHECK_MS = 1000;

/**
 * One Ctrl-C or one `kill` may arrive several times: once from the terminal or the supervisor, which
 * send it to the whole group, and once more from every launcher that passes it on.
 */
const SAME_WISH_MS = 500;

/**
 * Resolves on the first signal: finish what runs. The second one ends at once, with these words. SIGHUP
 * is one of them, the terminal has gone, unless `onHangUp` takes it.
 */
export function stopSignals(
  invocation: Invocation,
  atOnce: string,
  onHangUp?: () => void,
): Promise<void> {
  invocation.ownSignals();
  return new Promise((resolve) => {
    let stoppingSince: number | undefined;
    if (onHangUp !== undefined) process.on("SIGHUP", onHangUp);
    const ends = ["SIGINT", "SIGTERM", ...(onHangUp === undefined ? ["SIGHUP"] : [])] as const;
    for (const signal of ends) {
      process.on(signal, () => {
        stoppingSince ??= performance.now();
        if (performance.now() - stoppingSince > SAME_WISH_MS) {
          invocation.output.say(atOnce);
          process.exit(1);
        }
        resolve();
      });
    }
    whenLauncherEnds(invocation.env, resolve);
  });
}

/**
 * A SIGTERM for `npx flash run` or `npm run dev` ends npm and its shell, and npm passes it on to
 * neither of us: without this the server would be left behind, with its port.
 */
function whenLauncherEnds(env: NodeJS.ProcessEnv, stop: () => void): void {
  if (env.npm_command === undefined) return;
  const launcher = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === launcher) return;
    clearInterval(timer);
    stop();
  }, LAUNCHER_CHECK_MS);
  timer.unref();
}
