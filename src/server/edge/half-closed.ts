/**
 * Clients that end their side of a connection as soon as they have asked, and then wait for the answer:
 * netcat, and simple programs that call `shutdown`.
 */

import type { Server } from "node:http";
import type { Socket } from "node:net";

/** After this a connection whose client has ended its side is looked at, ms, and then every second. */
const PROBE_MS = 1000;

/**
 * Has a server answer them. Node itself drops every answer that comes later than the client's end, unless
 * this property says otherwise, which it leaves out of its documentation and keeps in its own tests.
 */
export function answerHalfClosed(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true });
}

/**
 * Finds out in the end whether such a client is still there: a minute after it has gone, its system answers
 * a probe with a reset.
 */
export function probe(socket: Socket): void {
  socket.setKeepAlive(true, PROBE_MS);
}
