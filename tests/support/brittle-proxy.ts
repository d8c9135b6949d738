/** A TCP proxy that breaks connections. What goes through it may be encrypted. */

import net from "node:net";
import type { Owner } from "./temp.ts";

/** A proxy that cuts every connection after so many bytes of the client, as often as it is told to. */
export async function brittleProxy(owner: Owner, to: string, cuts: number) {
  let left = cuts;
  const { port } = new URL(to);
  const sockets = new Set<net.Socket>();
  const proxy = net.createServer((client) => {
    const server = net.connect(Number(port), "127.0.0.1");
    let bytes = 0;
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        client.destroy();
        server.destroy();
      });
    }
    client.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      server.write(chunk);
      if (bytes < 2_000_000 || left === 0) return;
      left -= 1;
      client.destroy();
      server.end();
    });
    server.on("data", (chunk: Buffer) => client.write(chunk));
    server.on("end", () => client.end());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  owner.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const address = proxy.address() as net.AddressInfo;
  return { port: address.port, cutsLeft: () => left };
}
