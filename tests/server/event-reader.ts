/** A reader of a job's stream as server-sent events, over one connection. */

import assert from "node:assert/strict";
import http from "node:http";
import { once } from "node:events";
import type { Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

export interface StreamEvent {
  id?: string;
  event?: string;
  data: unknown;
}

export interface EventReaderOptions {
  lastEventId?: string | undefined;
  key?: string;
  /** Told of each event at once. */
  onEvent?: (event: StreamEvent) => void;
}

export class EventReader {
  readonly events: StreamEvent[] = [];
  comments = 0;
  isOver = false;
  readonly #request: http.ClientRequest;
  readonly #onEvent: (event: StreamEvent) => void;

  private constructor(
    request: http.ClientRequest,
    response: http.IncomingMessage,
    onEvent: (event: StreamEvent) => void,
  ) {
    this.#request = request;
    this.#onEvent = onEvent;
    let rest = "";
    response.setEncoding("utf8").on("data", (text: string) => {
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) this.#add(block);
    });
    response.on("error", () => undefined);
    response.on("close", () => (this.isOver = true));
  }

  /** Rejects when there is no stream. */
  static async open(
    owner: Owner,
    url: string,
    { lastEventId, key, onEvent = () => undefined }: EventReaderOptions = {},
  ): Promise<EventReader> {
    const request = http.get(url, {
      agent: false,
      headers: {
        accept: "text/event-stream",
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      },
    });
    owner.after(() => void request.destroy());
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    request.on("error", () => undefined);
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers["content-type"], "text/event-stream");
    return new EventReader(request, response, onEvent);
  }

  get data(): unknown[] {
    return this.events.filter(({ event }) => event === undefined).map(({ data }) => data);
  }

  get lastId(): string | undefined {
    return this.events.findLast(({ id }) => id !== undefined)?.id;
  }

  close(): void {
    this.#request.destroy();
  }

  async untilData(count: number): Promise<void> {
    await until(() => this.data.length >= count, { what: `${count} chunks` });
  }

  async end(): Promise<StreamEvent> {
    await until(() => this.isOver, { what: "the end" });
    const last = this.events.at(-1);
    assert.equal(last?.event, "end");
    return last;
  }

  #add(block: string): void {
    const fields = block.split("\n").map((line): [string, string] => {
      const cut = line.indexOf(":");
      return [line.slice(0, cut), line.slice(cut + 1).trimStart()];
    });
    const valueOf = (name: string): string[] =>
      fields.filter(([field]) => field === name).map(([, value]) => value);
    const data = valueOf("data");
    if (data.length === 0) {
      this.comments += 1;
      return;
    }
    const [id] = valueOf("id");
    const [event] = valueOf("event");
    const added: StreamEvent = {
      ...(id === undefined ? {} : { id }),
      ...(event === undefined ? {} : { event }),
      data: JSON.parse(data.join("\n")),
    };
    this.events.push(added);
    this.#onEvent(added);
  }
}
