/**
 * Where calls go: the server, its key, and the headers that name an endpoint.
 *
 *   by name   {FLASH_URL}/v2/flash and /lb/flash with the X-Flash-* headers
 *   by id     {FLASH_URL}/v2/{id} and /lb/{id}, or Runpod when no FLASH_URL is set
 *   by URL    what `deploy()` returned
 */

import { FlashError } from "../contract/flash-error.ts";
import { DEFAULTS } from "../contract/limits.ts";
import { isLoopback } from "../contract/server-proof.ts";
import { NAME_HEADERS } from "../contract/worker-env.ts";
import type { Deployment } from "./declare.ts";
import {
  appName,
  environmentName,
  homeFolder,
  readTextFile,
  readUrl,
  readVariable,
} from "./environment.ts";

/** What opens a server. */
interface Credentials {
  readonly key: string | undefined;
  /** It gets the key of this machine's server when it has proven to be that one (own-key). */
  readonly ownKey: boolean;
}

/** A Flash server and the app that is meant. */
export interface Connection extends Credentials {
  /** Base URL without a slash at the end. */
  readonly base: string;
  readonly app: string;
  readonly environment: string;
}

/** One endpoint as it is reached over HTTP. */
export interface Peer {
  /** What messages call it. */
  readonly name: string;
  /** `{jobsUrl}/run`, … */
  readonly jobsUrl: string;
  /** `{routesUrl}{path}`. */
  readonly routesUrl: string;
  /** Authorization, and the names for calls by name. */
  readonly headers: Readonly<Record<string, string>>;
  /** See {@link Credentials}. */
  readonly ownKey?: boolean;
  /** Where its description is; undefined for clients, which need none. */
  readonly connection: Connection | undefined;
  /** Address of its description where that is no server's control API. */
  readonly describedAt?: string;
}

const RUNPOD_URL = "https://api.runpod.ai/v2";

/** FLASH_URL, else the local server. */
export function connect(): Connection {
  const port = readVariable("FLASH_PORT") ?? String(DEFAULTS.serverPort);
  const base = readUrl("FLASH_URL") ?? `http://127.0.0.1:${port}`;
  return { base, ...credentials(base), app: appName(), environment: environmentName() };
}

export function connectionOf({ target, app, environment }: Deployment): Connection {
  return { base: target, ...credentials(target), app, environment };
}

/** The endpoint of that name in this app and environment. */
export function peerByName(name: string): Peer {
  const connection = connect();
  return {
    name,
    jobsUrl: `${connection.base}/v2/flash`,
    routesUrl: `${connection.base}/lb/flash`,
    headers: {
      ...authorization(connection.key),
      [NAME_HEADERS.app]: connection.app,
      [NAME_HEADERS.environment]: connection.environment,
      [NAME_HEADERS.endpoint]: name,
    },
    ownKey: connection.ownKey,
    connection,
  };
}

/** The endpoint that `deploy()` has made. */
export function peerOf(deployment: Deployment): Peer {
  const connection = connectionOf(deployment);
  return {
    name: deployment.name,
    jobsUrl: deployment.url,
    routesUrl: deployment.url,
    headers: authorization(connection.key),
    ownKey: connection.ownKey,
    connection,
  };
}

/** The endpoint beside `flash run --remote`, whose address FLASH_LIVE_URL is. */
export function peerAtDevServer(name: string): Peer {
  const url = `${readUrl("FLASH_LIVE_URL") ?? ""}/${name}`;
  return {
    name,
    jobsUrl: url,
    routesUrl: url,
    headers: authorization(readVariable("FLASH_API_KEY")),
    connection: undefined,
    describedAt: `${url}/execute`,
  };
}

/** An endpoint known by its id alone: on the Flash server that FLASH_URL names, else on Runpod. */
export function peerById(id: string): Peer {
  const segment = encodeURIComponent(id);
  const server = readUrl("FLASH_URL");
  if (server !== undefined) {
    const { key, ownKey } = credentials(server);
    return {
      name: id,
      jobsUrl: `${server}/v2/${segment}`,
      routesUrl: `${server}/lb/${segment}`,
      headers: authorization(key),
      ownKey,
      connection: undefined,
    };
  }
  const base = readUrl("RUNPOD_ENDPOINT_BASE_URL") ?? RUNPOD_URL;
  const key = readVariable("RUNPOD_API_KEY") ?? readVariable("FLASH_API_KEY");
  if (key === undefined) {
    throw new FlashError("UNAUTHORIZED", "No RunPod API key found.", {
      hint: `Set RUNPOD_API_KEY to call endpoint '${id}' on Runpod, or FLASH_URL to call it on a Flash server.`,
    });
  }
  const { protocol, host } = new URL(base);
  return {
    name: id,
    jobsUrl: `${base}/${segment}`,
    routesUrl: `${protocol}//${segment}.${host}`,
    headers: authorization(key),
    connection: undefined,
  };
}

/**
 * FLASH_API_KEY, else what `flash login` has got for the server; for a server on this machine also the key
 * file it has written. The file's key is the operator's, so it never leaves the machine. Throws
 * `UNAUTHORIZED` when there is none.
 */
function credentials(base: string): Credentials {
  const key = readVariable("FLASH_API_KEY") ?? savedKey(base);
  if (key !== undefined) return { key, ownKey: false };
  // Without a key the server itself says what it wants: a development server wants none.
  if (isLoopback(base)) return { key, ownKey: true };
  throw new FlashError("UNAUTHORIZED", `There is no key for ${base}: FLASH_API_KEY is not set.`, {
    hint: "Run 'flash login', or set FLASH_API_KEY to a key of that server.",
  });
}

/** From `FLASH_HOME/credentials.json`. */
function savedKey(base: string): string | undefined {
  try {
    const text = readTextFile(`${homeFolder() ?? ""}/credentials.json`);
    const { servers } = JSON.parse(text ?? "{}") as { servers?: Record<string, { key?: string }> };
    return servers !== undefined && Object.hasOwn(servers, base) ? servers[base]?.key : undefined;
  } catch {
    // Whoever wrote it tells what is wrong with it.
    return undefined;
  }
}

function authorization(key: string | undefined): Record<string, string> {
  return key === undefined || key === "" ? {} : { authorization: `Bearer ${key}` };
}
