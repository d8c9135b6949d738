/** A request that node:http has read, as lb-link sees it. */

import { TIMING_HEADER } from "../../contract/worker-env.ts";
import type { RequestStream, StreamEvents } from "../workers/request-link.ts";
import type { WorkerAnswer } from "./lb-answer.ts";
import type { Exchange } from "./lb-forward.ts";
import { factsOf, headersForWorker, withOwn } from "./lb-headers.ts";
import type { ClientEvents, LinkClient, LinkedWorker } from "./lb-link.ts";

/** Bodies up to this size are written in one piece with the head, bytes. */
const SMALL_BODY = 16 * 1024;

export class NodeClient implements LinkClient {
  hop: ClientEvents | undefined = undefined;
  readonly #exchange: Exchange;
  readonly #onClose = (): void => this.hop?.clientGone();
  readonly #onDrain = (): void => this.hop?.clientDrained();

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    exchange.response.once("close", this.#onClose);
    exchange.response.on("drain", this.#onDrain);
  }

  get method(): string {
    return this.#exchange.request.method ?? "GET";
  }

  get isRead(): boolean {
    return this.#exchange.request.complete;
  }

  get isBegun(): boolean {
    return this.#exchange.response.headersSent;
  }

  get isDone(): boolean {
    return this.#exchange.response.writableFinished;
  }

  get endpoint(): string {
    return this.#exchange.endpoint;
  }

  get timeoutMs(): number {
    return this.#exchange.timeoutMs;
  }

  send(
    { frames, liveSecret, timed }: LinkedWorker,
    events: StreamEvents,
  ): RequestStream | undefined {
    const { request, path, body, ownHeaders, trustsProxy } = this.#exchange;
    const headers = withOwn(
      headersForWorker(factsOf(request), { trustsProxy, liveSecret }),
      ownHeaders,
    );
    const head = [this.method, path, ...headers];
    if (timed !== undefined) head.push(TIMING_HEADER, "1");
    const stream = frames.open(head, { isLast: body.isEmpty, events });
    if (stream === undefined || body.isEmpty) return stream;
    const { out } = stream;
    const sink = {
      write: (chunk: Buffer) => out.write(chunk),
      end: () => out.end(),
      onDrain: (run: () => void) => out.onDrain(run),
    };
    body.sendTo(sink, { onTooLarge: () => this.hop?.bodyTooLarge() });
    return stream;
  }

  detach(): void {
    this.#exchange.body.detach();
  }

  answer(head: WorkerAnswer, body: Buffer): void {
    const { response } = this.#exchange;
    this.#writeHead(head);
    // One write with the head, as long as copying costs less than a second one.
    if (body.length === 0) response.end();
    else if (body.length <= SMALL_BODY) response.end(body.toString("latin1"), "latin1");
    else response.end(body);
  }

  begin(head: WorkerAnswer): void {
    this.#writeHead(head);
    if (head.isEvents) this.#exchange.response.flushHeaders();
  }

  write(bytes: Buffer): boolean {
    return this.#exchange.response.write(bytes);
  }

  end(): void {
    this.#exchange.response.end();
  }

  breakOff(): void {
    this.#exchange.response.destroy();
  }

  leave(): void {
    this.hop = undefined;
    const { response } = this.#exchange;
    response.off("close", this.#onClose);
    response.off("drain", this.#onDrain);
  }

  #writeHead(head: WorkerAnswer): void {
    const { status, reason, headers } = head;
    // Checked before node:http does, which would keep the reason for the problem document.
    head.check();
    const all = [...headers];
    // What is left of an unread request would be taken for the next one.
    if (!this.isRead) all.push("Connection", "close");
    this.#exchange.response.writeHead(status, reason, all);
  }
}
