/** `flash run --remote` against a real Flash server, for tests. */

import { writeFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { Answer, freePort, Sandbox } from "../support/flash.ts";
import { run, type Finished, type Program } from "../support/program.ts";
import { until } from "../support/until.ts";

export interface LiveRun {
  sandbox: Sandbox;
  folder: string;
  url: string;
  program: Program;
  call: (request: string, body?: unknown) => Promise<Answer>;
  save: (name: string, text: string) => void;
  /** Runs a script of the project with these variables. */
  script: (name: string, env?: NodeJS.ProcessEnv) => Promise<Finished>;
}

/** Starts `flash run --remote` on this project and waits until it serves. */
export async function runLive(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<LiveRun> {
  const sandbox = await Sandbox.open(t);
  const folder = sandbox.project(files);
  const port = await freePort();
  const program = sandbox.start(folder, "run", "--remote", "--port", String(port), ...args);
  const url = `http://127.0.0.1:${port}`;
  await program.says(/ctrl\+c|nothing is served|✗/);
  await until(async () => (await fetch(`${url}/ping`)).ok, { what: `flash run at ${url}` });
  return {
    sandbox,
    folder,
    url,
    program,
    call: (request, body) => Answer.to(url, request, body),
    save: (name, text) => writeFileSync(path.join(folder, name), text),
    script: (name, env = {}) =>
      run([process.execPath, name], {
        cwd: folder,
        env: { ...sandbox.env, FLASH_MODE: undefined, FLASH_LIVE_URL: url, ...env },
      }),
  };
}

export interface LiveDeployment {
  app: string;
  environment: string;
  endpoints: { name: string; id: string; url: string }[];
}

/** Live deployments on the sandbox's server, by its control API. */
export async function liveStatus(sandbox: Sandbox, app: string): Promise<LiveDeployment[]> {
  const get = async (rest: string): Promise<unknown> =>
    (await sandbox.fetch(`${sandbox.url}/api/v1/${rest}`)).json();
  const { environments } = (await get(`environments?app=${app}`)) as {
    environments: { name: string; release: string | null }[];
  };
  const active = environments.filter(({ release }) => release !== null);
  return Promise.all(
    active.map(
      async ({ name }) => (await get(`status?app=${app}&environment=${name}`)) as LiveDeployment,
    ),
  );
}
