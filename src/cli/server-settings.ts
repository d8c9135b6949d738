/** What `flash server start` may say about the server, and the command that says it again. */

import type { Durability } from "../contract/store.ts";
import { ENTRY_FILE } from "./package.ts";

export interface ServerSettings {
  /** Default 4747; 0 chooses a free one. */
  port?: number | undefined;
  /** Default 127.0.0.1. */
  host?: string | undefined;
  /** Default `strict`. */
  durability?: Durability | undefined;
  /** Lets webhooks reach loopback and private networks. Default false. */
  privateWebhooks?: boolean | undefined;
  /** Limits requests to queue endpoints as the platform does. Default false. */
  rateLimits?: boolean | undefined;
  /** Jobs that may wait then. Default: 50, or 500 for each worker. */
  queueLimit?: { free: number; perWorker: number } | undefined;
  /** Origins of web pages that may read answers. Default: none. */
  cors?: readonly string[] | undefined;
  /** Releases of an environment that can come back. Default 10. */
  keepReleases?: number | undefined;
  /** Days that failed jobs are kept. Default 7. */
  keepFailed?: number | undefined;
  /** Certificate and key, PEM files: speak TLS. */
  tls?: { cert: string; key: string } | undefined;
  /** Base URL that clients use, when a proxy is in front. */
  publicUrl?: string | undefined;
  /** Believe X-Forwarded-For. Default false. */
  trustProxy?: boolean | undefined;
  /** Memory that one worker may use at most, MiB. Default: the machine's. */
  workerMemory?: number | undefined;
}

/** Program and arguments, for Node, of a server with these settings that stays in the foreground. */
export function serverCommand(settings: ServerSettings): string[] {
  const {
    port,
    host,
    durability,
    privateWebhooks,
    rateLimits,
    queueLimit,
    cors,
    keepReleases,
    keepFailed,
    tls,
    publicUrl,
    trustProxy,
    workerMemory,
  } = settings;
  return [
    ENTRY_FILE,
    "server",
    "start",
    "--foreground",
    ...(port === undefined ? [] : ["--port", String(port)]),
    ...(host === undefined ? [] : ["--host", host]),
    ...(durability === undefined ? [] : ["--durability", durability]),
    ...(privateWebhooks === true ? ["--private-webhooks"] : []),
    ...(rateLimits === true ? ["--rate-limits"] : []),
    ...(queueLimit === undefined
      ? []
      : ["--queue-limit", `${queueLimit.free},${queueLimit.perWorker}`]),
    ...(cors === undefined ? [] : ["--cors", cors.join(",")]),
    ...(keepReleases === undefined ? [] : ["--keep-releases", String(keepReleases)]),
    ...(keepFailed === undefined ? [] : ["--keep-failed", String(keepFailed)]),
    ...(tls === undefined ? [] : ["--tls-cert", tls.cert, "--tls-key", tls.key]),
    ...(publicUrl === undefined ? [] : ["--public-url", publicUrl]),
    ...(trustProxy === true ? ["--trust-proxy"] : []),
    ...(workerMemory === undefined ? [] : ["--worker-memory", String(workerMemory)]),
  ];
}
