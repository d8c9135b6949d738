/**
 * The edge: where connections come in. Requests that are plain, and they are nearly all there are, are
 * read here, by code that understands nothing else; everything that is in the least unusual goes to
 * node:http with all its bytes, and so does the rest of its connection.
 *
 *   exchange          one plain request and its answer, as those who answer see them
 *   head              what a plain request's head is: pure
 *   answer            the bytes of an answer: pure
 *   connection        one connection: reading, answering, handing over
 *   half-closed       clients that end their side and wait for the answer
 *   declined-upgrade  requests that offer another protocol, which nobody takes up
 *
 * How to answer plain requests: a {@link Responder} gets every plain request of an open server, whole,
 * and says at once whether it will answer. What it does not take is answered by node:http's listener,
 * as if the edge were not there. The server has one responder, `Gateway.respond`, which asks those of the
 * planes: they take what they can answer well, and leave every refusal to the other way.
 *
 *   1  The edge never judges. What it does not take for plain, it has not understood; node:http is the
 *      one that refuses, so there are no two opinions about where a request ends.
 *   2  A connection is handed over between two messages only, and never comes back, but for one that
 *      an old Node has given up over a declined upgrade: it begins anew.
 *   3  A request that does not come in one piece has `PATIENCE_MS`; then node:http's limits count.
 *   4  Clients that end their side are answered all the same; what that means for the work they have asked
 *      for is decided where it is done (gateway/ended-side).
 *   5  A connection has one request at a time. The next one is not looked at before the answer is out.
 */

import type http from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../kit/clock.ts";
import { Connection } from "./connection.ts";
import type { Responder } from "./exchange.ts";

/** Between two looks at all connections, ms. */
const LOOK_MS = 1000;

type Serve = (this: http.Server, socket: Socket) => void;

export interface EdgeOptions {
  /** Its listeners answer what is not plain. */
  server: http.Server;
  /** `secureConnection` for a server of node:https. */
  event: "connection" | "secureConnection";
  respond: Responder;
  clock: Clock;
}

export class Edge {
  readonly #options: EdgeOptions;
  /** What node:http does with a new connection. */
  readonly #serve: Serve;
  readonly #connections = new Set<Connection>();
  #state: "open" | "closing" = "open";
  #cancelLook: () => void;

  /** Takes the connections of a server of node:http, which has to be new. */
  constructor(options: EdgeOptions) {
    this.#options = options;
    const { server, event } = options;
    const [serve] = server.listeners(event);
    if (serve === undefined) throw new TypeError(`the server does not listen to '${event}'`);
    this.#serve = serve as Serve;
    server.removeListener(event, this.#serve);
    server.on(event, (socket: Socket) => this.#accept(socket));
    this.#cancelLook = this.#planLook();
  }

  /** Ends what waits for a request; what is being answered ends after its answer. */
  close(): void {
    this.#state = "closing";
    for (const connection of this.#connections) connection.close();
  }

  /** Ends everything, whatever it is doing. */
  closeAll(): void {
    this.close();
    this.#cancelLook();
    for (const connection of this.#connections) connection.destroy();
  }

  #accept(socket: Socket): void {
    const { server, respond } = this.#options;
    if (this.#state === "closing") {
      this.#serve.call(server, socket);
      return;
    }
    const connection = new Connection(socket, {
      respond,
      keepAliveMs: server.keepAliveTimeout,
      onLeft: () => this.#connections.delete(connection),
      serve: () => this.#serve.call(server, socket),
    });
    this.#connections.add(connection);
  }

  /** One timer for all: a connection that is busy should not have to move one with every request. */
  #planLook(): () => void {
    const { clock } = this.#options;
    return clock.after(LOOK_MS, () => {
      const now = clock.elapsed();
      for (const connection of this.#connections) connection.look(now);
      this.#cancelLook = this.#planLook();
    });
  }
}
