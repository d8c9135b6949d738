/** Finds a port to listen on: the wanted one, or the next free of twenty. */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { FlashError } from "../contract/errors.ts";

/** How many ports are tried, the wanted one included. Source: the original. */
const TRIES = 20;

export interface ListenOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** Fail instead of taking the next port. */
  strictPort: boolean;
}

/** Resolves with the port. Throws `CONFLICT` when none is free. */
export async function listen(server: Server, options: ListenOptions): Promise<number> {
  const { host, port, strictPort } = options;
  const last = strictPort || port === 0 ? port : Math.min(port + TRIES - 1, 65_535);
  for (let tried = port; tried <= last; tried += 1) {
    if (await tryPort(server, host, tried)) return (server.address() as AddressInfo).port;
  }
  if (last === port) {
    throw new FlashError("CONFLICT", `Port ${port} is in use.`, {
      hint: "Choose another with --port, or leave out --strict-port to take the next free one.",
    });
  }
  throw new FlashError("CONFLICT", `No available port found in range ${port}-${last}.`, {
    hint: "Choose another with --port.",
  });
}

/** False when the port is taken. */
async function tryPort(server: Server, host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      server.off("listening", onListening);
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(listenError(error, host, port));
    };
    const onListening = (): void => {
      server.off("error", onError);
      resolve(true);
    };
    server.once("error", onError).once("listening", onListening).listen(port, host);
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): FlashError {
  const why = error.code === "EACCES" ? "this user may not use it" : error.message;
  return new FlashError("UNAVAILABLE", `Cannot listen on ${host}:${port}: ${why}.`, {
    cause: error,
    hint: "Choose another host with --host, or a port above 1023 with --port.",
  });
}
