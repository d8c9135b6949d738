/** What a server is started with. */

import type { Compute } from "../contract/compute.ts";
import type { KeepFailed, Store } from "../contract/store.ts";
import type { Clock } from "../kit/clock.ts";
import type { Log } from "../kit/log.ts";
import type { TlsFiles } from "./door.ts";
import type { QueueLimit } from "./gateway/rate-limits.ts";

export interface FlashServerOptions {
  /** FLASH_HOME: builds, logs and the key are kept here. */
  home: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 4747; 0 takes any free port. */
  port?: number;
  /** Closed with the server. */
  store: Store;
  /** Closed with the server. */
  compute: Compute;
  clock?: Clock;
  log?: Log;
  /** Default: the key in `home/key`, made on first use. */
  key?: string;
  /** Memory that any worker may use, bytes, where its endpoint asks for more or for no certain amount. Default: the machine's. */
  workerMemoryBytes?: number;
  /** Lets webhooks reach loopback and private networks. Default false. */
  allowPrivateWebhooks?: boolean;
  /** Limits requests to queue endpoints as the platform does. Default false. */
  rateLimits?: boolean;
  /** With `rateLimits`: jobs that may wait. Default: 50, or 500 for each worker that the endpoint may have. */
  queueLimit?: QueueLimit;
  /**
   * Web pages that may read answers, by origin (`https://app.example.com`); `*` means any, `local` those
   * served on this machine. Default: none.
   */
  cors?: readonly string[];
  /** Values of secrets that nobody has set here: for `flash run`, the developer's own variables. */
  secretFallback?: (name: string) => string | undefined;
  /** Releases of an environment that can come back; older ones and their builds go. Default 10. */
  keepReleases?: number;
  /** How long failed jobs are kept, ms, and how many of an endpoint. Default: 7 days, 10,000. */
  keepFailed?: Partial<KeepFailed>;
  /** OTEL_… variables: with OTEL_EXPORTER_OTLP_ENDPOINT traces are exported. Default: none. */
  tracing?: Readonly<Record<string, string | undefined>>;
  /** Bytes that worker logs may take: of one endpoint (default 16 MiB), and of all (default 1 GiB). */
  logs?: { maxBytes?: number; maxTotalBytes?: number };
  /** Speak TLS on that port, with these files. Default: plain HTTP. */
  tls?: TlsFiles;
  /** Base URL under which clients reach the server, without a slash at the end, when a proxy is in front. */
  publicUrl?: string;
  /** Believe the `X-Forwarded-For` of whoever connects. Default false. */
  trustProxy?: boolean;
  /** Of the package, for `GET /api/v1/server`. */
  version: string;
}

/** True for an address that only this machine reaches. */
export function isLoopbackAddress(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
