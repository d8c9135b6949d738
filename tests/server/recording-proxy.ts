/** A TCP proxy that writes down what goes through it, and keeps from the client what the server says when told to. */

import net from "node:net";
import { once } from "node:events";
import type { Owner } from "../support/temp.ts";

/** One connection: what has come from either side since the last `mark`. */
export interface Recorded {
  sent: string;
  answered: string;
}

export class RecordingProxy {
  readonly url: string;
  readonly #connections = new Set<Recorded>();
  readonly #clients = new Set<net.Socket>();
  #isHolding = false;
  /** What the client has not been told yet. */
  #held: (() => void)[] = [];

  private constructor(port: number) {
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(owner: Owner, to: string): Promise<RecordingProxy> {
    const sockets = new Set<net.Socket>();
    const listener = net.createServer((client) => {
      const server = net.connect(Number(new URL(to).port), "127.0.0.1");
      for (const socket of [client, server]) {
        sockets.add(socket);
        socket.on("error", () => undefined);
        socket.once("close", () => sockets.delete(socket));
      }
      proxy.#join(client, server);
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const proxy = new RecordingProxy((listener.address() as net.AddressInfo).port);
    owner.after(() => {
      for (const socket of sockets) socket.destroy();
      listener.close();
    });
    return proxy;
  }

  /** From now on the client hears nothing, and everything once this is over. */
  hold(): void {
    this.#isHolding = true;
  }

  release(): void {
    this.#isHolding = false;
    for (const tell of this.#held.splice(0)) tell();
  }

  /** Breaks every connection of the client; what it was not told it never hears. */
  cut(): void {
    this.#held = [];
    this.#isHolding = false;
    for (const client of this.#clients) client.destroy();
  }

  /** What was recorded before is forgotten. */
  mark(): void {
    for (const one of this.#connections) [one.sent, one.answered] = ["", ""];
  }

  get connections(): Recorded[] {
    return [...this.#connections];
  }

  #join(client: net.Socket, server: net.Socket): void {
    const recorded: Recorded = { sent: "", answered: "" };
    this.#connections.add(recorded);
    client.on("data", (bytes) => {
      recorded.sent += bytes.toString("latin1");
      server.write(bytes);
    });
    this.#clients.add(client);
    client.once("close", () => {
      this.#clients.delete(client);
      server.destroy();
    });
    server.on("data", (bytes) => {
      recorded.answered += bytes.toString("latin1");
      this.#tell(() => client.write(bytes));
    });
    server.once("close", () => this.#tell(() => client.destroy()));
  }

  #tell(tell: () => void): void {
    if (this.#isHolding) this.#held.push(tell);
    else tell();
  }
}
