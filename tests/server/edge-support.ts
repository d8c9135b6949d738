/**
 * Two servers that answer alike: one as node:http reads requests, one with the edge in front of it.
 * What a client gets from them is to be the same, byte for byte.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { ManualClock } from "../../src/kit/clock.ts";
import { answerHalfClosed } from "../../src/server/edge/half-closed.ts";
import { answerHead } from "../../src/server/edge/answer.ts";
import { Edge } from "../../src/server/edge/edge.ts";
import type { PlainExchange } from "../../src/server/edge/exchange.ts";
import type { Owner } from "../support/temp.ts";

/** One message as a server has understood it. */
interface Message {
  method: string;
  url: string;
  rawHeaders: readonly string[];
  body: Buffer;
}

/** What is answered to it: decided once, said in two ways. */
interface Reply {
  status: number;
  headers: string[];
  /** One: in one piece. */
  pieces: Buffer[];
}

function replyTo({ method, url, rawHeaders, body }: Message): Reply {
  const text = Buffer.from(JSON.stringify({ method, url, rawHeaders, body: body.toString("hex") }));
  const type = ["Content-Type", "application/json"];
  const exact = [...type, "Content-Length", String(text.length)];
  if (url.includes("nothing")) return { status: 204, headers: ["X-None", "1"], pieces: [] };
  if (url.includes("unchanged")) return { status: 304, headers: ["ETag", '"1"'], pieces: [] };
  if (url.includes("dated"))
    return { status: 200, headers: [...exact, "Date", "x"], pieces: [text] };
  if (url.includes("large")) {
    const large = Buffer.alloc(300_000, text);
    return { status: 200, headers: ["Content-Length", "300000"], pieces: [large] };
  }
  if (url.includes("chunked")) return { status: 201, headers: type, pieces: [text] };
  const half = Math.floor(text.length / 2);
  const halves = [text.subarray(0, half), text.subarray(half)];
  if (url.includes("stream")) return { status: 200, headers: type, pieces: halves };
  if (url.includes("pieces")) return { status: 200, headers: exact, pieces: halves };
  return { status: 200, headers: exact, pieces: [text] };
}

/** Everything is done in later turns for paths that say so. */
function soon(url: string, run: () => void): void {
  if (url.includes("later")) setImmediate(() => setImmediate(run));
  else run();
}

export interface Lanes {
  /** Ports. */
  plain: number;
  edged: number;
  /** Who has answered at the edged server, in order. */
  lanes: ("edge" | "node")[];
  clock: ManualClock;
  edge: Edge;
}

export async function startBoth(t: Owner): Promise<Lanes> {
  const lanes: Lanes["lanes"] = [];
  const clock = new ManualClock();
  const plain = await listening(t, () => undefined);
  const edged = await listening(t, () => lanes.push("node"));
  const respond = (exchange: PlainExchange): boolean => answerAtEdge(exchange, lanes);
  const edge = new Edge({ server: edged, event: "connection", respond, clock });
  t.after(() => edge.closeAll());
  return { plain: portOf(plain), edged: portOf(edged), lanes, clock, edge };
}

async function listening(t: Owner, onAnswer: () => void): Promise<http.Server> {
  const server = http.createServer({ keepAliveTimeout: 5000 }, (request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("error", () => undefined);
    request.on("end", () => {
      const { method = "", url = "", rawHeaders } = request;
      onAnswer();
      const reply = replyTo({ method, url, rawHeaders, body: Buffer.concat(parts) });
      soon(url, () => {
        response.writeHead(reply.status, http.STATUS_CODES[reply.status], reply.headers);
        for (const piece of reply.pieces) response.write(piece);
        response.end();
      });
    });
  });
  answerHalfClosed(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

function portOf(server: http.Server): number {
  return (server.address() as AddressInfo).port;
}

function answerAtEdge(exchange: PlainExchange, lanes: Lanes["lanes"]): boolean {
  const { head, body } = exchange;
  if (head.target.includes("refused")) return false;
  if (head.target.includes("passed")) {
    soon(head.target, () => exchange.pass());
    return true;
  }
  lanes.push("edge");
  const { method, target: url, rawHeaders } = head;
  const reply = replyTo({ method, url, rawHeaders, body: Buffer.from(body) });
  soon(url, () => {
    const answer = answerHead(reply.status, reply.headers);
    const [only = Buffer.alloc(0), ...more] = reply.pieces;
    if (more.length === 0) {
      exchange.answer(answer, only);
      return;
    }
    exchange.begin(answer);
    for (const piece of reply.pieces) exchange.write(piece);
    exchange.end();
  });
  return true;
}

export interface Manner {
  /** The server is in this process. Default true. */
  isOurs?: boolean;
  /** The client ends its side with the last piece. Default: when the server is quiet. */
  endsAtOnce?: boolean;
}

/** Everything a server says on one connection, until it ends it, to what is sent in these pieces. */
export async function converse(
  port: number,
  pieces: readonly Buffer[],
  // Of a server in this process it is known when it has nothing more to say.
  { isOurs = true, endsAtOnce = false }: Manner = {},
): Promise<string> {
  const socket = net.connect({ port, host: "127.0.0.1" });
  socket.setNoDelay(true);
  const heard: Buffer[] = [];
  socket.on("data", (part: Buffer) => heard.push(part));
  // A server that refuses may reset what is still on its way to it.
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await once(socket, "connect");
  for (const piece of pieces) {
    if (socket.destroyed || socket.writableEnded) break;
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (endsAtOnce) socket.end();
  else if (isOurs) {
    await quiet(socket, () => heard.length);
    socket.end();
  }
  await closed;
  return Buffer.concat(heard)
    .toString("latin1")
    .replaceAll(/^Date: [A-Z].*$/gm, "Date: now");
}

/** Turns of the event loop, which is the servers' too, after which nobody is about to say anything. */
const QUIET_TURNS = 50;

/** Waits until a conversation has ended, or the server waits for more: some requests are not whole. */
async function quiet(socket: net.Socket, heard: () => number): Promise<void> {
  let before = heard();
  for (let turns = 0; turns < QUIET_TURNS && !socket.destroyed; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (heard() > before) turns = 0;
    before = heard();
  }
}

/** Ends the conversation: node:http closes a connection after this one. */
export const GOODBYE = "GET /goodbye HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/** What node:http says to bytes that are no HTTP; it ends the connection. */
const REFUSAL = /HTTP\/1\.1 4\d\d [A-Za-z ]+\r\nConnection: close\r\n\r\n$/;

/**
 * Both servers say the same. There is one liberty: node:http reads ahead, and when what follows is no HTTP
 * it refuses that at once, whether or not what came before has been answered by then.
 */
export async function assertSame(
  lanes: Lanes,
  pieces: readonly Buffer[],
  manner: Manner = {},
): Promise<string> {
  const [expected, actual] = await Promise.all([
    converse(lanes.plain, pieces, manner),
    converse(lanes.edged, pieces, manner),
  ]);
  const [refusal] = REFUSAL.exec(expected) ?? [];
  if (refusal !== undefined && actual.endsWith(refusal)) {
    const [one, other] = [expected, actual].map((said) => said.slice(0, -refusal.length));
    if (one?.startsWith(other ?? "") === true || other?.startsWith(one ?? "") === true) {
      return actual;
    }
  }
  const shown = JSON.stringify(pieces.map((piece) => piece.toString("latin1")));
  assert.equal(actual, expected, `to ${shown.slice(0, 2000)}`);
  return actual;
}
