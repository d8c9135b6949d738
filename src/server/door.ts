/**
 * A door of the server: a port with its listener, plain or with TLS, and the edge behind it. A server
 * with TLS has two: the one for everybody, and a plain one on loopback for its own workers and for
 * commands on its machine, which need no certificate to trust.
 */

import { readFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { createSecureContext } from "node:tls";
import { FlashError } from "../contract/errors.ts";
import { systemClock } from "../kit/clock.ts";
import { declineUpgrade } from "./edge/declined-upgrade.ts";
import { answerHalfClosed } from "./edge/half-closed.ts";
import { Edge } from "./edge/edge.ts";
import type { Gateway } from "./gateway/gateway.ts";
import { isUpgrade } from "./gateway/lb-upgrade.ts";

/** Files in PEM. */
export interface TlsFiles {
  /** The certificate, followed by those that vouch for it. */
  cert: string;
  key: string;
}

interface TlsTexts {
  cert: Buffer;
  key: Buffer;
}

const HTTP_OPTIONS: http.ServerOptions = {
  // Long enough for the slowest upload of the largest artifact.
  requestTimeout: 30 * 60_000,
  // A client that does not finish its headers in this time is slow on purpose.
  headersTimeout: 20_000,
  connectionsCheckingInterval: 5000,
  // Longer than the idle time of the load balancers that may stand in front.
  keepAliveTimeout: 75_000,
  // Known since Node 24.9; for what is before see edge/declined-upgrade.
  shouldUpgradeCallback: isUpgrade,
};

export class Door {
  readonly #listener: http.Server | https.Server;
  readonly #edge: Edge;
  #url = "";

  constructor(gateway: Gateway, tls?: TlsTexts) {
    this.#listener =
      tls === undefined
        ? http.createServer(HTTP_OPTIONS)
        : https.createServer({ ...HTTP_OPTIONS, ...tls, minVersion: "TLSv1.2" });
    answerHalfClosed(this.#listener);
    const event = tls === undefined ? "connection" : "secureConnection";
    this.#edge = new Edge({
      server: this.#listener,
      event,
      respond: (exchange) => gateway.respond(exchange),
      clock: systemClock,
    });
    this.#listener
      .on("request", (request, response) => gateway.handle(request, response))
      .on("checkContinue", (request, response) => gateway.handle(request, response))
      .on("upgrade", (request, socket, head) => {
        if (isUpgrade(request)) gateway.handleUpgrade(request, socket, head);
        else declineUpgrade(this.#listener, { request, socket, head }, event);
      });
  }

  /** Base URL, without a slash at the end; known once the door is open. */
  get url(): string {
    return this.#url;
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo | null)?.port ?? 0;
  }

  /** Throws `CONFLICT` when the port is taken. */
  async open(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once("error", (cause: NodeJS.ErrnoException) =>
        reject(cannotListen(host, port, cause)),
      );
      this.#listener.listen(port, host, resolve);
    });
    const scheme = this.#listener instanceof https.Server ? "https" : "http";
    this.#url = `${scheme}://${reachable(host)}:${this.port}`;
  }

  /** New connections get the new certificate; open ones keep theirs. */
  renew(tls: TlsTexts): void {
    if (this.#listener instanceof https.Server) this.#listener.setSecureContext(tls);
  }

  /** Takes no more connections, ends idle ones. Resolves when the last one has ended. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#listener.close(() => resolve());
    });
    this.#edge.close();
    this.#listener.closeIdleConnections();
    return closed;
  }

  /** Ends every connection. */
  cut(): void {
    this.#edge.closeAll();
    this.#listener.closeAllConnections();
  }
}

/** Throws `INVALID_CONFIG` when the files cannot be read, or do not belong together. */
export async function readTls({ cert, key }: TlsFiles): Promise<TlsTexts> {
  const [certText, keyText] = await Promise.all([cert, key].map(readPem));
  const texts = { cert: certText ?? Buffer.of(), key: keyText ?? Buffer.of() };
  try {
    createSecureContext(texts);
    return texts;
  } catch (cause) {
    throw new FlashError(
      "INVALID_CONFIG",
      `${cert} and ${key} are no certificate and its key: ${(cause as Error).message}`,
      {
        hint: "Both are PEM files, and the key is the certificate's own, without a password.",
        cause,
      },
    );
  }
}

async function readPem(file: string): Promise<Buffer> {
  return await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw new FlashError("INVALID_CONFIG", `${file} cannot be read (${cause.code}).`, { cause });
  });
}

function cannotListen(host: string, port: number, cause: NodeJS.ErrnoException): FlashError {
  const isTaken = cause.code === "EADDRINUSE";
  return new FlashError(
    isTaken ? "CONFLICT" : "INVALID_CONFIG",
    isTaken
      ? `Port ${port} of ${host} is taken.`
      : `The server cannot listen on ${host}:${port} (${cause.code ?? cause.message}).`,
    { hint: "Choose another with --port or FLASH_PORT.", cause },
  );
}

/** The name under which this machine reaches a server that listens on `host`. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}
