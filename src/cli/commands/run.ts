/** `flash run`, `flash dev`: the project on this machine, reloaded on every save. */

import { DEFAULTS } from "../../contract/limits.ts";
import type { CommandDefinition } from "../command.ts";
import { overridesOf, readConfig } from "../config.ts";
import { openProject, readDotEnv } from "../project.ts";
import { stopSignals } from "../stop-signals.ts";
import { parsePort } from "../target.ts";

interface Options {
  app?: string;
  host?: string;
  port?: number;
  reload: boolean;
  strictPort?: true;
}

export const run: CommandDefinition = {
  description:
    "Serves the project here, on the same engine as in production, and reloads it on every save. " +
    "Interactive API documentation is at /docs. No key is needed on this machine.",
  examples: [
    ["flash run", "at http://localhost:8888"],
    ["flash run --port 3000 --strict-port", "there and nowhere else"],
    ["flash run --no-reload", "without watching files"],
  ],
  options: [
    ["--host <address>", "address to listen on; default: FLASH_HOST, localhost"],
    ["-p, --port <number>", `default: ${DEFAULTS.devPort}, or the next free one`, parsePort],
    ["--strict-port", "fail when the port is in use"],
    ["--no-reload", "do not watch files"],
    ["--reload", "watch files (the default)"],
    [
      "--auto-provision",
      "accepted for scripts of the original: workers here start on the first call",
    ],
    ["-a, --app <name>", "app; default: FLASH_APP, flash.toml, the folder's name"],
  ],
  async run(invocation) {
    const { cwd, env, output } = invocation;
    const options = invocation.options as Partial<Options>;
    const project = openProject({ cwd, env, app: options.app });
    Object.assign(env, readDotEnv(project.root, env));
    const stop = stopSignals(invocation, "stopped at once");
    const { runDev } = await import("../../dev/dev.ts");
    const server = await runDev({
      root: project.root,
      app: project.app,
      host: options.host ?? (env.FLASH_HOST?.trim() || "localhost"),
      port: options.port ?? DEFAULTS.devPort,
      strictPort: options.strictPort === true,
      reload: options.reload !== false,
      // Read for every build, so that saving flash.toml is a change like any other.
      overrides: (name) => overridesOf(readConfig(project.root))(name),
    });
    output.document({ url: server.url, app: project.app });
    await stop;
    await server.close();
  },
};
