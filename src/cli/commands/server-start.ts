/** `flash server start`: the Flash server of this machine, in the background or right here. */

import { FlashError } from "../../contract/errors.ts";
import type { ServerProcess } from "../server-process.ts";
import type { Durability } from "../../contract/store.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import path from "node:path";
import { failureDocument } from "../failure.ts";
import { serverUrl } from "../../clouds/clouds.ts";
import { flashHome } from "../home.ts";
import { outliveLog } from "../lost-output.ts";
import type { StartMessage } from "../background.ts";
import type { ServerSettings } from "../server-settings.ts";
import { stopSignals } from "../stop-signals.ts";
import { parsePort, portOf } from "../target.ts";

/** A worker that does nothing needs about as much. */
const MIN_MEMORY_MIB = 64;
const MAX_MEMORY_MIB = 16 * 1024 * 1024;

interface Options extends Omit<ServerSettings, "tls"> {
  foreground?: true;
  tlsCert?: string;
  tlsKey?: string;
}

const MAX_KEPT_DAYS = 365;

export const serverStart: CommandDefinition = {
  description:
    "Starts the Flash server of this machine in the background and waits until it is ready. All its " +
    "state is in FLASH_HOME (default ~/.flash). Starting it twice changes nothing.",
  examples: [
    ["flash server start", "start it on port 4747"],
    ["flash server start --port 5000", "on another port"],
    ["flash server start --foreground", "here, until Ctrl-C"],
  ],
  options: [
    ["-p, --port <number>", "default: FLASH_PORT, 4747; 0 takes a free one", parsePort],
    ["--host <address>", "address to listen on; default: 127.0.0.1, this machine only"],
    ["--foreground", "stay in this terminal, log to stderr, stop on Ctrl-C"],
    [
      "--durability <mode>",
      "strict: on disk before acknowledged (default); relaxed: soon after; memory: never, nothing outlives the server",
      parseMode,
    ],
    ["--private-webhooks", "let webhooks of jobs reach this machine and private networks"],
    [
      "--keep-releases <n>",
      "releases of an environment that can come back; default: FLASH_KEEP_RELEASES, 10",
      parseKept,
    ],
    [
      "--keep-failed <days>",
      "days that failed jobs are kept, to be looked into and retried; default: FLASH_KEEP_FAILED, 7",
      parseDays,
    ],
    [
      "--tls-cert <file>",
      "speak TLS with this certificate (PEM, with its chain); SIGHUP reads it again",
    ],
    ["--tls-key <file>", "the certificate's key (PEM)"],
    ["--public-url <url>", "how clients reach the server, when a proxy is in front", serverUrl],
    ["--trust-proxy", "believe X-Forwarded-For of whoever connects: only behind a proxy of yours"],
    [
      "--worker-memory <mib>",
      "MiB of memory that a worker may use, whatever its endpoint asks for; default: the machine's",
      parseMemory,
    ],
    ["--rate-limits", "answer 429 to clients that exceed Runpod's limits"],
    [
      "--queue-limit <jobs>",
      "with --rate-limits: jobs that may wait, always and for each worker an endpoint may have; default: 50,500",
      parseQueueLimit,
    ],
    [
      "--cors <origins>",
      "web pages that may call, by commas: https://app.example.com, local, *; default: none",
      parseOrigins,
    ],
  ],
  async run(invocation) {
    const { foreground, tlsCert, tlsKey, ...options } = invocation.options as Options;
    const tls = tlsOf({ tlsCert, tlsKey }, invocation.cwd);
    const port = options.port ?? portOf(invocation.env);
    const kept = invocation.env.FLASH_KEEP_RELEASES?.trim();
    const keepReleases = options.keepReleases ?? (kept ? parseKept(kept) : undefined);
    const days = invocation.env.FLASH_KEEP_FAILED?.trim();
    const keepFailed = options.keepFailed ?? (days ? parseDays(days) : undefined);
    const settings: ServerSettings = { ...options, port, tls, keepReleases, keepFailed };
    if (foreground === true) await serve(settings, invocation);
    else await startInBackground(settings, invocation);
  },
};

async function startInBackground(settings: ServerSettings, invocation: Invocation): Promise<void> {
  const { env, output, shellEnv, signal } = invocation;
  const { LocalServer } = await import("../local-server.ts");
  const local = new LocalServer(flashHome(env));
  const { url, isNew } = await local.start({ ...settings, env: shellEnv, signal });
  output.print(
    isNew
      ? `${output.colors.green("✓")} the Flash server runs at ${url}`
      : `${output.colors.green("✓")} the Flash server already runs at ${url}`,
  );
  output.print(output.colors.dim(`  home ${local.home}\n  log  ${local.logFile}`));
  output.document({ url, home: local.home, log: local.logFile, started: isNew });
}

async function serve(settings: ServerSettings, invocation: Invocation): Promise<void> {
  const { env, output } = invocation;
  let server: ServerProcess | undefined;
  // With a certificate a hang-up asks for a renewed one, but for a server in a terminal that is closed.
  const reloads = settings.tls !== undefined && !process.stdin.isTTY;
  const stop = stopSignals(
    invocation,
    "stopped at once; interrupted work runs again after the next start",
    reloads ? () => void server?.reload() : undefined,
  );
  try {
    await refuseSecondServer(invocation, settings.port);
    const program = await import("../server-process.ts");
    outliveLog();
    server = await program.ServerProcess.start({ ...settings, home: flashHome(env) });
    await tellStarter({ url: server.url });
    output.print(`${output.colors.green("✓")} the Flash server runs at ${server.url}`);
    output.document({ url: server.url, home: server.home, log: null, started: true });
    // The control API may stop it as well.
    await Promise.race([stop, server.closed]);
    output.say("stopping...");
    await server.close();
  } catch (error) {
    await tellStarter({ problem: failureDocument(error) });
    throw error;
  }
}

/** Paths are those of this command's folder: the server runs in another one. Throws `INVALID_USAGE`. */
function tlsOf(
  { tlsCert, tlsKey }: { tlsCert: string | undefined; tlsKey: string | undefined },
  cwd: string,
): ServerSettings["tls"] {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert !== undefined && tlsKey !== undefined) {
    return { cert: path.resolve(cwd, tlsCert), key: path.resolve(cwd, tlsKey) };
  }
  throw new FlashError("INVALID_USAGE", "--tls-cert and --tls-key belong together.");
}

/** Two servers on one home would both believe to own its jobs. */
async function refuseSecondServer(
  { env, signal }: Invocation,
  port: number | undefined,
): Promise<void> {
  const { LocalServer } = await import("../local-server.ts");
  const running = await new LocalServer(flashHome(env)).running(signal);
  if (running === undefined) return;
  throw new FlashError(
    "CONFLICT",
    `The Flash server of ${running.home} already runs at ${running.url}.`,
    {
      hint:
        port === undefined
          ? "Stop it with 'flash server stop' first."
          : "Stop it with 'flash server stop' first, or set FLASH_HOME for a second server.",
    },
  );
}

/** `flash server start` without `--foreground` waits for these words of the process it has started. */
async function tellStarter(message: StartMessage): Promise<void> {
  if (!process.connected) return;
  await new Promise<void>((resolve) => process.send?.(message, () => resolve()));
  // A channel that stays open would keep a finished server alive.
  if (process.connected) process.disconnect();
}

function parseOrigins(text: string): string[] {
  const origins = text.split(",").flatMap((origin) => origin.trim() || []);
  const wrong = origins.find(
    (origin) =>
      origin !== "*" &&
      origin !== "local" &&
      !(URL.canParse(origin) && new URL(origin).origin === origin),
  );
  if (wrong === undefined && origins.length > 0) return origins;
  throw new FlashError("INVALID_USAGE", `--cors takes origins, got '${wrong ?? text}'.`, {
    hint: "An origin is scheme, host and port without a path: https://app.example.com",
  });
}

function parseMemory(text: string): number {
  const mib = Number(text);
  if (/^\d+$/.test(text) && mib >= MIN_MEMORY_MIB && mib <= MAX_MEMORY_MIB) return mib;
  throw new FlashError(
    "INVALID_USAGE",
    `--worker-memory takes whole MiB from ${MIN_MEMORY_MIB}, got '${text}'.`,
    { hint: "For 2 GiB: --worker-memory 2048" },
  );
}

function parseMode(text: string): Durability {
  if (text === "strict" || text === "relaxed" || text === "memory") return text;
  throw new FlashError(
    "INVALID_USAGE",
    `--durability is 'strict', 'relaxed' or 'memory', got '${text}'.`,
  );
}

function parseKept(text: string): number {
  const kept = Number(text);
  if (/^\d{1,6}$/.test(text) && kept >= 1) return kept;
  throw new FlashError(
    "INVALID_USAGE",
    `--keep-releases is a whole number of at least 1, got '${text}'.`,
  );
}

function parseDays(text: string): number {
  const days = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && days <= MAX_KEPT_DAYS) return days;
  throw new FlashError(
    "INVALID_USAGE",
    `--keep-failed takes days from 0 to ${MAX_KEPT_DAYS}, such as 7 or 0.5, got '${text}'.`,
  );
}

function parseQueueLimit(text: string): NonNullable<ServerSettings["queueLimit"]> {
  const [, free, perWorker] = /^(\d{1,9}),(\d{1,9})$/.exec(text) ?? [];
  if (free !== undefined && perWorker !== undefined) {
    return { free: Number(free), perWorker: Number(perWorker) };
  }
  throw new FlashError(
    "INVALID_USAGE",
    `--queue-limit takes two whole numbers, such as 50,500, got '${text}'.`,
  );
}
