/** Where commands go that are about an app or a whole server, not about one environment. */

import type { Invocation, OptionDefinition } from "./command.ts";
import { openProject } from "./project.ts";
import { openDestination, TARGET_OPTIONS, type Destination, type TargetOptions } from "./target.ts";

/** Without an environment and an app. */
export const SERVER_OPTIONS: readonly OptionDefinition[] = TARGET_OPTIONS.filter(
  ([flags]) => !flags.startsWith("-e,") && !flags.startsWith("-a,"),
);

/** Without an environment. */
export const APP_OPTIONS: readonly OptionDefinition[] = TARGET_OPTIONS.filter(
  ([flags]) => !flags.startsWith("-e,"),
);

/** The server, and the app of the project or of `--app`. */
export async function openForApp(
  invocation: Invocation,
  { start }: { start: boolean } = { start: false },
): Promise<Destination & { app: string }> {
  const { cwd, env } = invocation;
  const project = openProject({ cwd, env, app: (invocation.options as TargetOptions).app });
  return { ...(await openDestination(invocation, project, { start })), app: project.app };
}
