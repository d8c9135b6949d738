/**
 * What it means when a client ends its side of the connection before it has its answer. It may have gone,
 * or have said that it has nothing more to ask and wait for the answer; who is not written to cannot be
 * told apart. So it is answered, with two exceptions:
 *
 *   1  What a dead client would swallow, a job for a worker or values that are given once, is not waited
 *      for any longer: {@link endSignal}.
 *   2  What is done for the caller alone, such as running a route, ends with it: {@link endWithClient}.
 */

import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { systemClock } from "../../kit/clock.ts";
import { clientSignal } from "./http.ts";

/**
 * So long a client that has ended its side may wait for the next bytes of an answer that is made for it
 * alone, ms. One that has gone, such as an interrupted curl, stops its function this much later. While
 * bytes flow, writing them tells whether it is there.
 */
const PATIENCE_MS = 1000;

/** By connection, what its answers do when the client ends its side: many may be on their way at once. */
const waiting = new WeakMap<Socket, Set<() => void>>();

/** Calls `run` once when the client ends its side before the answer is complete. */
export function onClientEnd(response: ServerResponse, run: () => void): void {
  const { socket } = response.req;
  if (response.closed) return;
  if (socket.readableEnded) {
    run();
    return;
  }
  const runs = waiting.get(socket) ?? listenTo(socket);
  runs.add(run);
  response.once("close", () => runs.delete(run));
}

function listenTo(socket: Socket): Set<() => void> {
  const runs = new Set<() => void>();
  waiting.set(socket, runs);
  socket.once("end", () => {
    for (const run of runs) run();
  });
  return runs;
}

/** A signal that aborts when the client has gone, or has ended its side. */
export function endSignal(response: ServerResponse): AbortSignal {
  const ended = new AbortController();
  onClientEnd(response, () => ended.abort());
  return AbortSignal.any([clientSignal(response), ended.signal]);
}

export interface Caller {
  socket: Socket;
  /** Of its request. */
  connection: string | undefined;
}

export function callerOf(response: ServerResponse): Caller {
  const { socket, headers } = response.req;
  return { socket, connection: headers.connection };
}

/** The client of a route has ended its side: its connection ends at once, soon, or with the answer. */
export function endWithClient({ socket, connection }: Caller): void {
  // Who has asked for the connection to be kept and then ends it has changed its mind.
  if (connection !== undefined && /\bkeep-alive\b/i.test(connection)) {
    socket.destroy();
    return;
  }
  let written = socket.bytesWritten;
  const look = (): void => {
    if (socket.destroyed) return;
    const isQuiet = socket.bytesWritten === written && socket.writableLength === 0;
    if (isQuiet) socket.destroy();
    else systemClock.after(PATIENCE_MS, look);
    written = socket.bytesWritten;
  };
  systemClock.after(PATIENCE_MS, look);
}
