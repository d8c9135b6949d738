/**
 * What user code writes while it runs, told to whoever waits for it. It is written as well: the server
 * that started the worker keeps it as the worker's log.
 */

import { AsyncLocalStorage } from "node:async_hooks";

export type OutputName = "stdout" | "stderr";
export type OutputListener = (stream: OutputName, text: string) => void;

const listeners = new AsyncLocalStorage<OutputListener>();

/** From now on {@link listenToOutput} hears what is written. Once for a process. */
export function captureOutput(): void {
  for (const name of ["stdout", "stderr"] as const) {
    const stream = process[name];
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
      listeners.getStore()?.(name, textOf(chunk));
      return write(chunk, ...rest);
    };
  }
}

/** Runs `work`; `listener` hears what it and all that it starts write, whenever they do. */
export function listenToOutput<T>(listener: OutputListener, work: () => T): T {
  return listeners.run(listener, work);
}

function textOf(chunk: string | Uint8Array): string {
  return typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
}
