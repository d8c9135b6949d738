/**
 * One job's stream, read by several readers with places of their own and by several that drain it,
 * while clients, the worker and the server are killed: each reader sees every value of an attempt once
 * and in order, and all that drain see together every value once.
 */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { freePort } from "../support/flash.ts";
import { until } from "../support/until.ts";
import { EventReader, type StreamEvent } from "./event-reader.ts";
import { backwards } from "./server-support.ts";

const COUNT = 60;

interface Value {
  attempt: number;
  n: number;
  pid: number;
}

/** A program of the tests, killed at their end if not before. */
class Fixture {
  readonly child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #output = "";

  constructor(t: Owner, name: string, { args, tmp }: { args: string[]; tmp: string }) {
    const program = path.join(import.meta.dirname, name);
    this.child = spawn(process.execPath, [program, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, TMPDIR: tmp },
    });
    this.#exited = once(this.child, "exit");
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.#output += text));
    t.after(() => this.kill());
  }

  async line<T>(): Promise<T> {
    const text = await until(() => this.#output.split("\n").length > 1 && this.#output, {
      what: "the program to say where it is",
    });
    return JSON.parse(text) as T;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#exited;
  }
}

/** The server, its only job, and how far that may stream. */
class Stream {
  readonly #t: Owner;
  readonly #folder: string;
  readonly #port: number;
  #server: Fixture | undefined;
  #address = { url: "", key: "" };
  #job = "";

  private constructor(t: Owner, port: number) {
    this.#t = t;
    this.#folder = temporaryFolder(t, "flash-stream");
    this.#port = port;
    mkdirSync(path.join(this.#folder, "tmp"));
  }

  static async start(t: Owner): Promise<Stream> {
    const stream = new Stream(t, await freePort());
    stream.allow(0);
    await stream.restart();
    const input = { limit: stream.file("limit"), count: COUNT };
    const body = JSON.stringify({ input: { input } });
    const { id } = await stream.#ask(`/run`, { method: "POST", body });
    stream.#job = id as string;
    return stream;
  }

  file(name: string): string {
    return path.join(this.#folder, name);
  }

  /** kill -9, if it runs, and another one on the same files and port. */
  async restart(): Promise<void> {
    await this.#server?.kill();
    const args = [this.file("home"), String(this.#port)];
    this.#server = new Fixture(this.#t, "fixture-stream-server.ts", {
      args,
      tmp: this.file("tmp"),
    });
    this.#address = await this.#server.line();
  }

  /** The function may yield up to this number. */
  allow(n: number): void {
    writeFileSync(this.file("limit"), String(n));
  }

  get readerArguments(): [url: string, key: string] {
    return [`${this.#address.url}/stream/${this.#job}`, this.#address.key];
  }

  async status(): Promise<string> {
    return (await this.#ask(`/status/${this.#job}`)).status as string;
  }

  /** What is there to drain, by one of those who do. */
  async drain(): Promise<Value[]> {
    const found: Value[] = [];
    for (;;) {
      const { stream = [] } = (await this.#ask(`/stream/${this.#job}?wait=0`)) as {
        stream?: { output: Value }[];
      };
      if (stream.length === 0) return found;
      found.push(...stream.map(({ output }) => output));
    }
  }

  reader(name: string): Fixture {
    const args = [...this.readerArguments, this.file(name)];
    return new Fixture(this.#t, "fixture-stream-reader.ts", { args, tmp: this.file("tmp") });
  }

  async #ask(rest: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
    const { url, key } = this.#address;
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${url}${rest}`, { ...init, headers });
    assert.equal(response.status, 200, rest);
    return (await response.json()) as Record<string, unknown>;
  }
}

/** A reader that may lose its connection, and goes on with its place. */
class Follower {
  readonly events: StreamEvent[] = [];
  readonly #t: Owner;
  readonly #stream: Stream;
  #reader: EventReader | undefined;

  constructor(t: Owner, stream: Stream) {
    this.#t = t;
    this.#stream = stream;
  }

  async open(): Promise<this> {
    const [url, key] = this.#stream.readerArguments;
    this.#reader = await EventReader.open(this.#t, url, {
      key,
      lastEventId: this.events.findLast(({ id }) => id !== undefined)?.id,
      onEvent: (event) => this.events.push(event),
    });
    return this;
  }

  async close(): Promise<void> {
    this.#reader?.close();
    await until(() => this.#reader?.isOver, { what: "the reader's end" });
  }
}

/** What a reader was told, in short: `1:3` for the third value of the first attempt. */
function told(events: readonly StreamEvent[]): string[] {
  return events.map(({ event, data }) => {
    const { attempt, n } = data as Value;
    return event ?? `${attempt}:${n}`;
  });
}

function values(attempt: number, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `${attempt}:${from + index}`);
}

/** What was told of each attempt that the reader was told of. */
function attemptsOf(words: readonly string[]): string[][] {
  const attempts: string[][] = [[]];
  for (const word of words) {
    if (word === "restart") attempts.push([]);
    else attempts.at(-1)?.push(word);
  }
  return attempts;
}

function savedEvents(file: string): StreamEvent[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as StreamEvent);
}

test("a stream is exact for all who read it, through kill -9 of clients, worker and server", async (context) => {
  const t = backwards(context);
  const stream = await Stream.start(t);
  const drained: Value[] = [];
  /** Two at once, so that they take from each other. */
  const drainTwice = async (): Promise<void> => {
    for (const part of await Promise.all([stream.drain(), stream.drain()])) {
      const numbers = part.map(({ n }) => n);
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
        "each sees its own in order",
      );
      drained.push(...part);
    }
  };
  const [first, second] = [new Follower(t, stream), new Follower(t, stream)];
  let killable = stream.reader("events");
  const third = (): StreamEvent[] => savedEvents(stream.file("events"));
  const sees = async (events: () => readonly StreamEvent[], last: string): Promise<void> => {
    await until(() => told(events()).includes(last), {
      what: `${last}; there is ${told(events()).at(-1)}`,
    });
  };
  await Promise.all([first.open(), second.open()]);

  stream.allow(10);
  for (const events of [() => first.events, () => second.events, third]) await sees(events, "1:10");
  await drainTwice();

  // One client is killed, one loses its connection, and both come back.
  await Promise.all([killable.kill(), second.close()]);
  stream.allow(20);
  await sees(() => first.events, "1:20");
  killable = stream.reader("events");
  await second.open();
  for (const events of [() => second.events, third]) await sees(events, "1:20");

  // The worker is killed: another attempt, whether or not somebody was there to be told.
  await second.close();
  const [begun] = first.events;
  assert.ok(begun);
  process.kill((begun.data as Value).pid, "SIGKILL");
  await sees(() => first.events, "2:20");
  await drainTwice();
  stream.allow(30);
  for (const events of [() => first.events, third]) await sees(events, "2:30");

  // The server is killed, and its worker with it.
  await stream.restart();
  await Promise.all([first.open(), second.open()]);
  await killable.kill();
  killable = stream.reader("events");
  for (const events of [() => first.events, () => second.events, third]) await sees(events, "3:30");
  await drainTwice();
  stream.allow(40);
  for (const events of [() => first.events, () => second.events, third]) await sees(events, "3:40");
  await drainTwice();

  // And once more, when all has been said and not all has been read.
  await Promise.all([killable.kill(), second.close()]);
  stream.allow(COUNT);
  await sees(() => first.events, "end");
  assert.equal(await stream.status(), "COMPLETED");
  await stream.restart();
  await second.open();
  killable = stream.reader("events");
  const late = await new Follower(t, stream).open();
  for (const events of [() => second.events, third, () => late.events]) await sees(events, "end");
  await drainTwice();

  const toTheEnd = [...values(3, 1, COUNT), "end"];
  const all = ["restart", ...values(2, 1, 30), "restart", ...toTheEnd];
  assert.deepEqual(told(first.events), [...values(1, 1, 20), ...all]);
  assert.deepEqual(told(third()), [...values(1, 1, 20), ...all]);
  // It was away from the first attempt to the third, and may have been there for a part of what was left of the second.
  const [ofFirst = [], ...ofOthers] = attemptsOf(told(second.events));
  assert.deepEqual(ofFirst, values(1, 1, 20));
  assert.deepEqual(ofOthers.at(-1), toTheEnd);
  for (const part of ofOthers.slice(0, -1)) assert.deepEqual(part, values(2, 1, part.length));
  assert.deepEqual(told(late.events), toTheEnd);
  const taken = drained.map(({ attempt, n }) => `${attempt}:${n}`);
  const expected = [...values(1, 1, 10), ...values(2, 1, 20), ...values(3, 1, COUNT)];
  assert.deepEqual(taken.toSorted(), expected.toSorted());
});
