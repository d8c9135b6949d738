/**
 * Where a load-balanced worker is reached: an HTTP server, and beside a socket the request link. Doors
 * can be open before it is known whose they are: a standby listens, and becomes a worker behind them.
 */

import http from "node:http";
import { rm } from "node:fs/promises";
import { FlashError } from "../../contract/errors.ts";
import { linkPathOf } from "../../contract/lb-link.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Listen } from "../settings.ts";
import { HttpRequest, HttpResponse, type RouteRequest, type RouteResponse } from "./exchange.ts";
import { LinkServer } from "./link-server.ts";

export type DoorListener = (request: RouteRequest, response: RouteResponse) => void;

/** Longer than any balancer in front keeps an idle connection, ms: the balancer must be the one to close. */
const KEEP_ALIVE_MS = 610_000;

export class Doors {
  readonly #listen: Listen;
  readonly #http: http.Server;
  /** Beside the HTTP socket that a Flash server has named; elsewhere nobody would ask for it. */
  readonly #links: LinkServer | undefined;
  #listener: DoorListener = refuse;
  #opening: Promise<void> | undefined;
  #linkFailure: string | undefined;

  constructor(listen: Listen) {
    this.#listen = listen;
    const hear: DoorListener = (request, response) => this.#listener(request, response);
    this.#http = createServer(hear);
    if ("socketPath" in listen) this.#links = new LinkServer(hear);
  }

  /** Why there is no request link where there should be one. */
  get linkFailure(): string | undefined {
    return this.#linkFailure;
  }

  isAt(listen: Listen): boolean {
    const own = this.#listen;
    return "socketPath" in own && "socketPath" in listen && own.socketPath === listen.socketPath;
  }

  /** From now on whoever comes is led to this listener. */
  leadTo(listener: DoorListener): void {
    this.#listener = listener;
  }

  leadNowhere(): void {
    this.#listener = refuse;
  }

  /** Listens. Throws `WORKER_START_FAILED`. Idempotent. */
  open(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** No new connections and no new streams; resolves when the server has ended its links. */
  async close(): Promise<void> {
    this.#http.close();
    await this.#links?.drain();
  }

  closeIdleConnections(): void {
    this.#http.closeIdleConnections();
  }

  async #open(): Promise<void> {
    const listen = this.#listen;
    if ("socketPath" in listen) await this.#openLinks(linkPathOf(listen.socketPath));
    await listenOn(this.#http, listen);
  }

  async #openLinks(path: string): Promise<void> {
    try {
      await this.#links?.listen(path);
    } catch (error) {
      // HTTP does all that a link does, only slower.
      this.#linkFailure = String(error);
    }
  }
}

/** Nobody comes before a standby is a worker; who does all the same may come again. */
function refuse(_: RouteRequest, response: RouteResponse): void {
  response.writeHead(503, { "retry-after": "1" });
  response.end();
}

export function createServer(listener: DoorListener): http.Server {
  const hear = (message: http.IncomingMessage, answer: http.ServerResponse): void => {
    const request = new HttpRequest(message);
    listener(request, new HttpResponse(request, answer));
  };
  const server = http.createServer(
    { keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: LIMITS.lbProcessingMs, noDelay: true },
    hear,
  );
  // A body that will be refused need not be sent at all.
  server.on("checkContinue", (request, response) => {
    const length = Number(request.headers["content-length"] ?? 0);
    if (length <= LIMITS.lbBodyBytes) response.writeContinue();
    hear(request, response);
  });
  return server;
}

export async function listenOn(server: http.Server, listen: Listen): Promise<void> {
  // Left behind by a worker that was killed; nobody else may own this path.
  if ("socketPath" in listen) await rm(listen.socketPath, { force: true });
  const where = "socketPath" in listen ? listen.socketPath : `port ${listen.port}`;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new FlashError("WORKER_START_FAILED", `Cannot listen on ${where}: ${cause.message}`, {
          cause,
        }),
      ),
    );
    if ("socketPath" in listen) server.listen(listen.socketPath, resolve);
    else server.listen(listen.port, listen.host, resolve);
  });
}
