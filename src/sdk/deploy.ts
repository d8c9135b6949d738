/** `resource.deploy()`: the command line as a child process, and what follows from its answer. */

import type { DeploymentDocument } from "../contract/control.ts";
import { errorOfProblem } from "../contract/errors.ts";
import { FlashError } from "../contract/flash-error.ts";
import { parseOrUndefined } from "../contract/json.ts";
import { connect, connectionOf, peerOf, type Connection } from "./connection.ts";
import type { Deployment } from "./declare.ts";
import { nodeProcess } from "./environment.ts";
import { endpointNotFound, ensureOk, exchange, excerptOf } from "./exchange.ts";
import type { WaitOptions } from "./job.ts";
import { Deadline, isTransient, pause, seconds } from "./pause.ts";

export interface DeployOptions {
  /** Wait until the endpoint answers its health check, which starts a worker. Default false. */
  waitForReady?: boolean;
  /** How long `waitForReady` waits, ms. Default 50 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Ten tries of five seconds. Source: the original. */
const READY_TIMEOUT_MS = 50_000;
const OPERATION_TIMEOUT_MS = 60_000;

/** The command line of this package, from `src` and from `dist` alike. */
const COMMAND = "../../bin/flash.js";

let running: Promise<DeploymentDocument> | undefined;

/**
 * Deploys the project in the current directory and returns the endpoint of that name. Resources
 * that deploy at the same time share one run: it deploys all of them anyway.
 */
export async function deployProject(name: string, options: DeployOptions): Promise<Deployment> {
  running ??= runCommand(new URL(COMMAND, import.meta.url)).finally(() => (running = undefined));
  const shared = running;
  const document = await (options.signal === undefined
    ? shared
    : Promise.race([shared, aborted(options.signal)]));
  return deploymentOf(document, name);
}

/** Throws `NOT_DEPLOYED` when the deployed project has no endpoint of that name. */
export function deploymentOf(document: DeploymentDocument, name: string): Deployment {
  const { app, environment, target, endpoints } = document;
  const endpoint = endpoints.find((one) => one.name === name);
  if (endpoint !== undefined) return { ...endpoint, app, environment, target };
  throw new FlashError("NOT_DEPLOYED", `'${name}' is not among the endpoints of app '${app}'`, {
    hint: `Deployed were ${endpoints.map((one) => one.name).join(", ") || "none"}: is the file that declares '${name}' inside the current directory?`,
  });
}

/** Runs `flash deploy --json` with what people need to see on our stderr. */
export async function runCommand(command: URL): Promise<DeploymentDocument> {
  const process = nodeProcess();
  if (process === undefined) {
    throw new FlashError("NOT_SUPPORTED", "deploy() needs Node.js.", {
      hint: "Run 'flash deploy' where the project is.",
    });
  }
  const { spawn } = process.getBuiltinModule("node:child_process");
  const file = process.getBuiltinModule("node:url").fileURLToPath(command);
  const child = spawn(process.execPath, [file, "deploy", "--json"], {
    cwd: process.cwd(),
    env: process.env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const document = parseOrUndefined(output);
  if (code === 0 && isDeployment(document)) return document;
  throw (
    errorOfProblem(document) ??
    new FlashError(
      "BUILD_FAILED",
      code === 0
        ? `'flash deploy --json' answered with something else: ${excerptOf(output)}`
        : `'flash deploy' failed with exit code ${String(code)}`,
      {
        hint: "Its messages are above. Run 'flash deploy' in the project's directory to see them again.",
      },
    )
  );
}

/** Looks until the endpoint's health check answers 200. Throws `UNAVAILABLE`. */
export async function waitUntilReady(
  deployment: Deployment,
  options: DeployOptions,
): Promise<void> {
  const peer = peerOf(deployment);
  const limitMs = options.timeoutMs ?? READY_TIMEOUT_MS;
  const deadline = new Deadline(limitMs);
  const url = `${deployment.url}${deployment.kind === "lb" ? "/ping" : "/health"}`;
  for (let tries = 0; !deadline.isOver; tries++) {
    try {
      const outgoing = {
        method: "GET",
        url,
        timeoutMs: deadline.remainingMs,
        signal: options.signal,
      };
      if ((await exchange(peer, outgoing, async ({ status }) => status)) === 200) return;
    } catch (error) {
      if (!isTransient(error)) throw error;
    }
    await pause(deadline.delayMs(tries), { signal: options.signal });
  }
  const { kind, name, id } = deployment;
  throw new FlashError(
    "UNAVAILABLE",
    `${kind.toUpperCase()} endpoint ${name} (${id}) failed to become healthy within ${seconds(limitMs)}`,
    { hint: `'flash logs ${name}' shows why its workers do not start.` },
  );
}

/** Removes one endpoint through the control API. */
export async function undeploy(
  name: string,
  deployment: Deployment | undefined,
  limits: WaitOptions = {},
): Promise<void> {
  const { connection, ...plain } = endpointRequest(name, deployment);
  const request = { ...plain, ...limits };
  await exchange(request, { ...request, method: "DELETE" }, async (response) => {
    if (response.status === 404) throw endpointNotFound(name, connection);
    await ensureOk(response, { name, connection });
  });
}

export async function isDeployed(
  name: string,
  deployment: Deployment | undefined,
  limits: WaitOptions = {},
): Promise<boolean> {
  const { connection, ...plain } = endpointRequest(name, deployment);
  const request = { ...plain, ...limits };
  return exchange(request, { ...request, method: "GET" }, async (response) => {
    if (response.status === 404) return false;
    await ensureOk(response, { name, connection });
    return true;
  });
}

function endpointRequest(
  name: string,
  deployment: Deployment | undefined,
): {
  name: string;
  headers: Record<string, string>;
  ownKey: boolean;
  url: string;
  timeoutMs: number;
  connection: Connection;
} {
  const connection = deployment === undefined ? connect() : connectionOf(deployment);
  const { base, app, environment, key, ownKey } = connection;
  const query = new URLSearchParams({ app, environment, name });
  return {
    name,
    headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
    ownKey,
    url: `${base}/api/v1/endpoints?${query.toString()}`,
    timeoutMs: OPERATION_TIMEOUT_MS,
    connection,
  };
}

function isDeployment(value: unknown): value is DeploymentDocument {
  return Array.isArray((value as Partial<DeploymentDocument> | null | undefined)?.endpoints);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(signal.reason as Error);
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
}
