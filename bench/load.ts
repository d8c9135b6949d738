/**
 * A small HTTP/1.1 load generator on raw sockets: N keep-alive connections, one request in flight on
 * each. It costs a fraction of what an HTTP client library costs, which matters when client and
 * server share two cores. Run as a program it reads one JSON line from stdin and prints one.
 */

import net from "node:net";
import { createInterface } from "node:readline";

export interface LoadRequest {
  /** `http://127.0.0.1:4747` or a Unix socket as `unix:/path`. */
  target: string;
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
  connections: number;
  /** When no request is begun any more. */
  durationMs: number;
  /** At most so many. Default: as many as there is time for. */
  requests?: number;
  /** A response whose body does not contain this counts as an error. */
  expect: string;
}

export interface LoadResult {
  requests: number;
  errors: number;
  perSecond: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** Sends requests for `durationMs` and reports latencies in ms. */
export async function load(request: LoadRequest): Promise<LoadResult> {
  const bytes = requestBytes(request);
  const latencies: number[] = [];
  let errors = 0;
  const start = performance.now();
  const end = start + request.durationMs;
  let left = request.requests ?? Number.POSITIVE_INFINITY;
  // However short the time, there is an answer to judge by.
  const mayGoOn = (isFirst: boolean): boolean => left-- > 0 && (isFirst || performance.now() < end);
  await Promise.all(
    Array.from({ length: request.connections }, () =>
      runConnection(request, bytes, mayGoOn, (ms, isGood) => {
        latencies.push(ms);
        if (!isGood) errors++;
      }),
    ),
  );
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  return {
    requests: latencies.length,
    errors,
    perSecond: latencies.length / seconds,
    p50: quantile(latencies, 0.5),
    p95: quantile(latencies, 0.95),
    p99: quantile(latencies, 0.99),
    max: latencies.at(-1) ?? 0,
  };
}

/** The value below which `share` of the sorted numbers lie. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

function requestBytes(request: LoadRequest): Buffer {
  const body = request.body ?? "";
  const headers = {
    host: request.target.startsWith("unix:") ? "localhost" : new URL(request.target).host,
    ...(request.body === undefined
      ? {}
      : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
    ...request.headers,
  };
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${request.method} ${request.path} HTTP/1.1\r\n${head.join("")}\r\n${body}`);
}

function runConnection(
  request: LoadRequest,
  bytes: Buffer,
  mayGoOn: (isFirst: boolean) => boolean,
  record: (ms: number, isGood: boolean) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(request.target);
    let pending: Buffer = Buffer.alloc(0);
    let sentAt = 0;
    const send = (isFirst: boolean): void => {
      if (!mayGoOn(isFirst)) {
        socket.end();
        return;
      }
      sentAt = performance.now();
      socket.write(bytes);
    };
    socket.setNoDelay(true);
    socket.once("connect", () => send(true));
    socket.once("error", reject);
    socket.once("close", () => resolve());
    socket.on("data", (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const answer = wholeAnswer(pending);
      if (answer === undefined) return;
      pending = pending.subarray(answer.length);
      record(performance.now() - sentAt, answer.text.includes(request.expect));
      send(false);
    });
  });
}

function connect(target: string): net.Socket {
  if (target.startsWith("unix:")) return net.connect({ path: target.slice("unix:".length) });
  const url = new URL(target);
  return net.connect({ host: url.hostname, port: Number(url.port) });
}

/** The first complete response in `bytes`, by content-length or chunked coding. */
function wholeAnswer(bytes: Buffer): { length: number; text: string } | undefined {
  const split = bytes.indexOf("\r\n\r\n");
  if (split === -1) return undefined;
  const head = bytes.toString("latin1", 0, split).toLowerCase();
  const length = /\r\ncontent-length: *(\d+)/.exec(head)?.[1];
  let end: number;
  if (length !== undefined) end = split + 4 + Number(length);
  else {
    const last = bytes.indexOf("0\r\n\r\n", split + 4);
    if (last === -1) return undefined;
    end = last + 5;
  }
  if (bytes.length < end) return undefined;
  return { length: end, text: bytes.toString("latin1", 0, end) };
}

if (import.meta.main) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await load(JSON.parse(line) as LoadRequest))}\n`);
  }
}
