/**
 * Clients that end their side of a connection as soon as they have asked, and then wait for the answer:
 * netcat, and simple programs that call `shutdown`.
 */

import type { Server } from "node:http";

/**
 * Has a server answer them. Node itself drops every answer that comes later than the client's end, unless
 * this property says otherwise, which it leaves out of its documentation and keeps in its own tests.
 */
export function answerHalfClosed(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true });
}
