/**
 * WebSockets and other upgrades of load-balanced endpoints: the handshake goes through like a request,
 * with the same holding and the same headers; afterwards bytes pass both ways untouched. An open
 * connection counts as a request of its worker until it ends.
 */

import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { FlashError, PROBLEM_TYPE, problemOf } from "../../contract/errors.ts";
import type { Pool } from "../workers/pool.ts";
import type { PoolWorker } from "../workers/pool-worker.ts";
import { readAffinity } from "../workers/select.ts";
import { affinityHeader } from "./lb.ts";
import { factsOf, headersForClient, headersForWorker, type WorkerHeaders } from "./lb-headers.ts";

export interface UpgradeRequest {
  request: IncomingMessage;
  socket: Duplex;
  /** What the client sent after the handshake. */
  head: Buffer;
}

/**
 * Whether the connection is to change its protocol. A request with a body is answered as if it had not
 * asked, and so is the offer of HTTP/2, which some clients make with everything they send.
 */
export function isUpgrade({ method, headers }: IncomingMessage): boolean {
  const { upgrade, "content-length": length = "0" } = headers;
  const hasBody = Number(length) !== 0 || headers["transfer-encoding"] !== undefined;
  return method === "GET" && !hasBody && upgrade?.toLowerCase() !== "h2c";
}

/** Answers an upgrade request; resolves when the connection has ended. Throws what stops it before. */
export async function serveUpgrade(
  pool: Pool,
  path: string,
  upgrade: UpgradeRequest & WorkerHeaders,
): Promise<void> {
  const affinity = readAffinity(affinityHeader(upgrade.request));
  const gone = new AbortController();
  const onGone = (): void => gone.abort();
  upgrade.socket.once("close", onGone);
  const worker = pool.tryAcquire(affinity) ?? (await pool.acquire(affinity, gone.signal));
  try {
    await connect(worker, path, upgrade);
  } finally {
    upgrade.socket.off("close", onGone);
    pool.giveBack(worker);
  }
}

/** An error as a whole HTTP answer on a bare socket. */
export function refuseUpgrade(socket: Duplex, failure: unknown): void {
  const error = FlashError.is(failure)
    ? failure
    : new FlashError("INTERNAL", "The server failed to answer this request.");
  const body = JSON.stringify(problemOf(error));
  const head = headOf(error.status, STATUS_CODES[error.status] ?? "", [
    "Content-Type",
    PROBLEM_TYPE,
    "Content-Length",
    String(Buffer.byteLength(body)),
    "Connection",
    "close",
  ]);
  socket.end(head + body);
}

function connect(
  worker: PoolWorker,
  path: string,
  upgrade: UpgradeRequest & WorkerHeaders,
): Promise<void> {
  const { request, socket, head } = upgrade;
  return new Promise((resolve, reject) => {
    const lost = (cause: Error): void => {
      reject(new FlashError("WORKER_LOST", "The worker ended during the handshake.", { cause }));
    };
    const { link } = worker;
    if (link === undefined) {
      lost(new Error("the worker has no address"));
      return;
    }
    const headers = headersForWorker(factsOf(request), upgrade);
    headers.push("Connection", "Upgrade", "Upgrade", request.headers.upgrade ?? "websocket");
    const upstream = link.upgrade({ method: request.method ?? "GET", path, headers });
    socket.once("close", () => upstream.destroy());
    upstream.once("error", lost);
    upstream.once("response", (answer) => {
      // The worker does not want to: its answer goes through, and the connection ends.
      const refusal = [...headersForClient(answer.rawHeaders, worker.id), "Connection", "close"];
      socket.write(headOf(answer.statusCode ?? 502, answer.statusMessage ?? "", refusal));
      answer.pipe(socket);
      answer.once("close", resolve);
    });
    upstream.once("upgrade", (answer, workerSocket, workerHead) => {
      const accepted = headersForClient(answer.rawHeaders, worker.id);
      accepted.push("Connection", "Upgrade", "Upgrade", answer.headers.upgrade ?? "websocket");
      socket.write(headOf(101, answer.statusMessage ?? "", accepted));
      if (workerHead.length > 0) socket.write(workerHead);
      if (head.length > 0) workerSocket.write(head);
      splice(socket, workerSocket, resolve);
    });
    upstream.end();
  });
}

/** Bytes both ways, with back-pressure, until either side ends. */
function splice(one: Duplex, other: Duplex, done: () => void): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.pipe(to);
    from.on("error", () => to.destroy());
    from.once("close", () => to.destroy());
  }
  other.once("close", done);
}

function headOf(status: number, message: string, headers: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${message}\r\n`;
  for (let index = 0; index < headers.length; index += 2) {
    head += `${headers[index] ?? ""}: ${headers[index + 1] ?? ""}\r\n`;
  }
  return `${head}\r\n`;
}
