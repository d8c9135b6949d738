/**
 * `npm start`: a Flash server in this terminal with the examples deployed on it, called once for
 * real, and lines to paste. Uses the same FLASH_HOME as the `flash` command, so `npx flash status`
 * in another terminal sees this server.
 *
 *   npm start -- --port 5000
 */

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import path from "node:path";
import { parseArgs } from "node:util";
import { flashHome } from "../src/cli/home.ts";
import { LocalServer } from "../src/cli/local-server.ts";
import { ServerProcess } from "../src/cli/server-process.ts";
import type { DeploymentDocument } from "../src/contract/control.ts";
import { FlashError } from "../src/contract/errors.ts";
import { DEFAULTS } from "../src/contract/limits.ts";
import { createLog } from "../src/kit/log.ts";

const root = path.dirname(import.meta.dirname);
const home = flashHome(process.env);
/** How many ports are tried, the wanted one included. */
const PORT_TRIES = 20;

/** One Ctrl-C may arrive twice: from the terminal, and passed on by npm's script. */
const SAME_WISH_MS = 500;

const stop = new AbortController();
let stoppingSince: number | undefined;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    stoppingSince ??= performance.now();
    if (performance.now() - stoppingSince > SAME_WISH_MS) process.exit(130);
    stop.abort();
  });
}

try {
  await main();
} catch (error) {
  if (!stop.signal.aborted) {
    const hint = FlashError.is(error) && error.hint !== undefined ? `\n  ${error.hint}` : "";
    console.error(`✗ ${(error as Error).message}${hint}`);
    process.exitCode = 1;
  }
}
// A request that is still being answered must not keep a stopped program alive.
process.exit();

async function main(): Promise<void> {
  await refuseSecond();
  const server = await ServerProcess.start({ home, port: await choosePort(), log: quietLog() });
  try {
    console.log(`✓ the Flash server runs at ${server.url}  (home ${server.home})`);
    await present(server.url);
    console.log("Ready. Ctrl-C stops the server and its workers.");
    await new Promise<void>((resolve) => {
      stop.signal.addEventListener("abort", () => resolve());
      if (stop.signal.aborted) resolve();
    });
  } finally {
    if (stop.signal.aborted) console.error("stopping...");
    await server.close();
  }
}

async function present(url: string): Promise<void> {
  const users = await deploy("user-service", url);
  const mixed = await deploy("mixed", url);
  const { show, line } = callerWith((await new LocalServer(home).key()) ?? "");
  const service = baseOf(users, "user-service");
  const api = baseOf(mixed, "public-api");
  const queue = baseOf(mixed, "gpu-backend");

  console.log("\nCalled once, for real:\n");
  const prompt = { prompt: "a red fox" };
  await show("GET", `${service}/users`);
  await show("POST", `${api}/process`, prompt);
  const job = (await show("POST", `${queue}/run`, { input: prompt })) as { id: string };

  console.log("\nPaste these into another terminal.\n\nThe user service, six routes:\n");
  console.log(line("GET", `${service}/users`));
  console.log(line("POST", `${service}/users`, { name: "Charlie", email: "charlie@example.com" }));
  console.log(line("GET", `${service}/users/1`));
  console.log(line("PUT", `${service}/users/1`, { name: "Alice Updated" }));
  console.log(line("DELETE", `${service}/users/2`));
  console.log(line("GET", `${service}/health`));
  console.log(line("GET", `${service}/ping`));
  console.log("\nA route that calls a queue endpoint:\n");
  console.log(line("POST", `${api}/process`, prompt));
  console.log(
    "\nThe queue endpoint itself: a durable job, one that is waited for, and a job's state:\n",
  );
  console.log(line("POST", `${queue}/run`, { input: prompt }));
  console.log(line("POST", `${queue}/runsync`, { input: { ...prompt, steps: 5 } }));
  console.log(line("GET", `${queue}/status/${job.id}`));
  console.log(
    `\nBase URLs:\n\n  user-service  ${service}\n  public-api    ${api}\n  gpu-backend   ${queue}\n`,
  );
  console.log("In this folder, too: npx flash status --app mixed, npx flash --help\n");
}

/** Two servers on one home would both believe to own its jobs. */
async function refuseSecond(): Promise<void> {
  const running = await new LocalServer(home).running(stop.signal);
  if (running === undefined) return;
  throw new FlashError(
    "CONFLICT",
    `A Flash server is already running for ${home}: ${running.url}, process ${running.pid}.`,
    {
      hint: "Stop it with 'npx flash server stop', or set FLASH_HOME and --port for a second one.",
    },
  );
}

/** `--port`, FLASH_PORT or 4747, or the next free one. */
async function choosePort(): Promise<number> {
  const { values } = parseArgs({ options: { port: { type: "string", short: "p" } } });
  const text = values.port ?? (process.env.FLASH_PORT || String(DEFAULTS.serverPort));
  const wanted = Number(text);
  if (!/^\d+$/.test(text) || wanted > 65_535) {
    throw new FlashError(
      "INVALID_USAGE",
      `A port is a whole number from 0 to 65535, got '${text}'.`,
    );
  }
  if (wanted === 0) return 0;
  const last = Math.min(wanted + PORT_TRIES - 1, 65_535);
  for (let port = wanted; port <= last; port += 1) {
    if (!(await isFree(port))) continue;
    if (port !== wanted) console.error(`port ${wanted} in use, using ${port}`);
    return port;
  }
  throw new FlashError("CONFLICT", `No available port found in range ${wanted}-${last}.`, {
    hint: "Choose another with --port.",
  });
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

/** Deploys an example with the real command. */
async function deploy(example: string, url: string): Promise<DeploymentDocument> {
  const flash = path.join(root, "bin", "flash.js");
  const args = ["deploy", "--json", "--quiet", "--app", example, "--env", "production"];
  const { FLASH_URL: _, FLASH_API_KEY: __, FLASH_APP: ___, FLASH_ENV: ____, ...env } = process.env;
  const child = spawn(process.execPath, [flash, ...args, "--target", url], {
    cwd: path.join(root, "examples", example),
    env,
    stdio: ["ignore", "pipe", "inherit"],
    signal: stop.signal,
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject).once("close", resolve);
  });
  if (code !== 0) {
    throw new FlashError("REMOTE_ERROR", `The example '${example}' could not be deployed.`);
  }
  console.log(`✓ deployed examples/${example}`);
  return JSON.parse(text) as DeploymentDocument;
}

function baseOf(deployment: DeploymentDocument, name: string): string {
  const found = deployment.endpoints.find((endpoint) => endpoint.name === name);
  if (found !== undefined) return found.url;
  throw new FlashError("ENDPOINT_NOT_FOUND", `The deployment has no endpoint '${name}'.`);
}

interface Caller {
  /** Makes a request and shows it with its answer. */
  show: (method: string, url: string, body?: unknown) => Promise<unknown>;
  /** The request as a shell command, with the key in it: it works in any folder and terminal. */
  line: (method: string, url: string, body?: unknown) => string;
}

function callerWith(key: string): Caller {
  const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  return {
    async show(method, url, body) {
      const response = await fetch(url, {
        method,
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: stop.signal,
      });
      const text = await response.text();
      const sent = body === undefined ? "" : ` ${JSON.stringify(body)}`;
      console.log(`  ${method} ${new URL(url).pathname}${sent}\n    → ${response.status} ${text}`);
      if (response.ok) return JSON.parse(text);
      throw new FlashError("REMOTE_ERROR", `${method} ${url} answered ${response.status}.`);
    },
    line(method, url, body) {
      const verb = method === "GET" ? "" : ` -X ${method}`;
      const type = quote("content-type: application/json");
      const data = body === undefined ? "" : ` -H ${type} -d ${quote(JSON.stringify(body))}`;
      return `  curl -sS${verb} ${quote(url)} -H ${quote(`authorization: Bearer ${key}`)}${data}`;
    },
  };
}

/** Warnings and errors of the server; what it does otherwise is in `flash logs`. */
function quietLog(): ReturnType<typeof createLog> {
  return createLog({
    level: "warn",
    format: "text",
    write: (text) => process.stderr.write(text),
  });
}
