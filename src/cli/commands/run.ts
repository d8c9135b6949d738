/** `flash run`, `flash dev`: the project on this machine, reloaded on every save. */

import { hash } from "node:crypto";
import type { Target } from "../../contract/cloud.ts";
import { FlashError } from "../../contract/errors.ts";
import { DEFAULTS } from "../../contract/limits.ts";
import { MAX_NAME_LENGTH } from "../../contract/names.ts";
import type { LiveOptions } from "../../dev/dev.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import { overridesOf, readConfig } from "../config.ts";
import { STEP_WORDS } from "../progress.ts";
import { openProject, type Project } from "../project.ts";
import { stopSignals } from "../stop-signals.ts";
import { openDestination, parsePort, portOf } from "../target.ts";

interface Options {
  app?: string;
  host?: string;
  port?: number;
  reload: boolean;
  strictPort?: true;
  remote?: true;
  target?: string;
  keep?: true;
}

export const run: CommandDefinition = {
  description:
    "Serves the project here, on the same engine as in production, and reloads it on every save. " +
    "Interactive API documentation is at /docs. No key is needed on this machine. What the project's tsconfig.json " +
    "makes a type error is shown, and is served all the same.",
  examples: [
    ["flash run", "at http://localhost:8888"],
    ["flash run --port 3000 --strict-port", "there and nowhere else"],
    ["flash run --no-reload", "without watching files"],
    ["flash run --remote", "with the functions of Live resources on a server"],
  ],
  options: [
    ["--host <address>", "address to listen on; default: FLASH_HOST, localhost"],
    [
      "-p, --port <number>",
      `default: FLASH_PORT, ${DEFAULTS.devPort}; or the next free one`,
      parsePort,
    ],
    ["--strict-port", "fail when the port is in use"],
    ["--no-reload", "do not watch files"],
    ["--reload", "watch files (the default)"],
    [
      "--remote",
      "run the functions of Live resources on live workers, which get the code with the calls",
    ],
    [
      "--target <url>",
      "with --remote: server of the live workers; default: FLASH_URL, flash.toml, the server of this machine",
    ],
    ["--keep", "with --remote: leave the live workers there at the end"],
    [
      "--auto-provision",
      "accepted for scripts of the original: workers here start on the first call",
    ],
    ["-a, --app <name>", "app; default: FLASH_APP, flash.toml, the folder's name"],
  ],
  async run(invocation) {
    const { cwd, dotEnv, output, shellEnv } = invocation;
    const options = invocation.options as Partial<Options>;
    const project = openProject({ cwd, env: invocation.env, app: options.app });
    // User code is evaluated by this process and its children.
    const env = Object.assign(process.env, dotEnv);
    const { remote, isLocal } = await openRemote(invocation, project);
    const stop = stopSignals(invocation, "stopped at once");
    const { DEV_ENVIRONMENT, runDev } = await import("../../dev/dev.ts");
    const server = await runDev({
      root: project.root,
      app: project.app,
      host: options.host ?? (env.FLASH_HOST?.trim() || "localhost"),
      // Beside the server of this machine the shell's FLASH_PORT is that server's.
      port:
        options.port ?? portOf(isLocal ? dotEnv : { ...dotEnv, ...shellEnv }) ?? DEFAULTS.devPort,
      strictPort: options.strictPort === true,
      reload: options.reload !== false,
      onStep: (step) => {
        if (step === undefined) output.progress.clear();
        else output.progress.show(STEP_WORDS[step]);
      },
      // Read for every build, so that saving flash.toml is a change like any other.
      ...(remote === undefined ? {} : { remote }),
      overrides: (name) => overridesOf(readConfig(project.root), DEV_ENVIRONMENT)(name),
      include: () => readConfig(project.root).include ?? [],
    });
    output.document({ url: server.url, app: project.app });
    await stop;
    await server.close();
  },
};

/** Where live workers go, under `--remote`. What is wrong with server or key is found before the build. */
async function openRemote(
  invocation: Invocation,
  project: Project,
): Promise<{ remote?: LiveOptions; isLocal: boolean }> {
  const { remote, target, keep } = invocation.options as Partial<Options>;
  if (remote !== true) {
    if (target === undefined && keep === undefined) return { isLocal: false };
    const flag = target === undefined ? "--keep" : "--target";
    throw new FlashError("INVALID_USAGE", `${flag} needs --remote.`);
  }
  // --port is the dev server's, not that of the server of this machine.
  const options = target === undefined ? {} : { target };
  const { cloud, key, isLocal } = await openDestination({ ...invocation, options }, project, {
    start: true,
  });
  const place = liveTarget(project, invocation.env);
  const { signal } = invocation;
  await cloud.environments(place.app, { signal });
  const platform = await cloud.platform({ signal });
  return { remote: { cloud, key, platform, target: place, keep: keep === true }, isLocal };
}

/** An app and environment of this checkout's own, so that it meets nothing that is deployed. */
function liveTarget({ app, root }: Project, env: NodeJS.ProcessEnv): Target {
  const user = (env.USER ?? env.LOGNAME ?? "").replaceAll(/[^A-Za-z0-9]+/g, "-");
  const owner = user.replace(/^-/, "").slice(0, 40);
  const place = hash("sha256", root, "hex").slice(0, 6);
  return {
    app: `live-${app}`.slice(0, MAX_NAME_LENGTH),
    environment: owner === "" ? `dev-${place}` : `${owner}-${place}`,
  };
}
