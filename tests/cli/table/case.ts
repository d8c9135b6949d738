/** A row of the table: one use of the command line, and what must come of it. */

import type { Machine } from "../cli.ts";

/** What the rows share: one machine, one server, one project. */
export interface World extends Machine {
  url: string;
  port: string;
  /** Filled into arguments as `{name}`: `{url}`, `{port}`, `{job}` … */
  values: Record<string, string>;
  /** A project folder besides the main one. */
  folder: (name: string, files?: Readonly<Record<string, string>>) => string;
}

export interface Case {
  /** A sentence. */
  title: string;
  /** What follows `flash`. `{url}` and the like are filled in. */
  args: readonly string[];
  /** Folder below the world's; default: the project. */
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** Written to stdin. */
  input?: string;
  /** In a pseudo-terminal, with these keys typed; `stdout` is then the whole screen. */
  terminal?: readonly (readonly [shown: RegExp, keys: string])[];
  /** For what runs until it is stopped: told to stop after it has written this. */
  until?: RegExp;
  /** Done while it runs, with `until`. */
  meanwhile?: (world: World) => Promise<void>;
  /** Default 0. */
  code?: number;
  stdout?: RegExp | "";
  stderr?: RegExp | "";
  /** With --json: what the document is like. */
  json?: (document: Record<string, unknown>, world: World) => void;
  /** What has changed by it. */
  effect?: (world: World) => Promise<void> | void;
}

/** Files of the project that the table deploys. */
export const PROJECT: Readonly<Record<string, string>> = {
  "app.ts": `
import { Endpoint } from "runpod-flash";
export const double = Endpoint(
  { name: "double", cpu: "cpu3c-1-2", retries: 0 },
  async (value: number) => {
    if (value < 0) throw new RangeError("negative");
    console.log("doubling " + value);
    return value * 2;
  },
);
export const count = Endpoint({ name: "count", cpu: "cpu3c-1-2" }, async function* (upTo: number) {
  for (let i = 1; i <= upTo; i++) yield { i };
});
export const box = Endpoint({ name: "box", image: "acme/box:1", cpu: "cpu3c-1-2" });
const api = Endpoint({ name: "shelf", cpu: "cpu3c-1-2" });
export const add = api.post("/add", (x: number, y: number) => x + y);
export const item = api.get("/items/{id}", (id: number, tags: string[] = []) => ({ id, tags }));
`,
};
