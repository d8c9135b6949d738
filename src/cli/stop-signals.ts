/** Ctrl-C and SIGTERM for commands that run until they are stopped. */

import type { Invocation } from "./command.ts";

/** Resolves on the first signal: finish what runs. The second one ends at once, with these words. */
export function stopSignals({ ownSignals, output }: Invocation, atOnce: string): Promise<void> {
  ownSignals();
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (isStopping) {
          output.say(atOnce);
          process.exit(1);
        }
        isStopping = true;
        resolve();
      });
    }
  });
}
