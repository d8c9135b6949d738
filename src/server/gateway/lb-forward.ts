/**
 * One try to have a worker answer a request, over HTTP. Both ways are streamed with back-pressure; nothing is
 * buffered but what `lb-body` keeps. How it went is a value, never an exception:
 *
 *   answered   the worker's answer has begun to reach the client, which has all or a visibly broken one
 *   left       the client has gone, and the worker has been told
 *   lost       the connection ended before an answer; `hadArrived` says whether the worker may have
 *              begun to work
 *   refused    the gateway has to answer itself: too large, too slow
 */

import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { WorkerLink } from "../workers/link.ts";
import { pairsOf, type BodySink, type RequestBody } from "./lb-body.ts";
import { factsOf, headersForClient, headersForWorker, withOwn } from "./lb-headers.ts";
import { answerTooLarge, answerUnfit, notInTime, requestTooLarge } from "./lb-refusals.ts";

export type Outcome =
  | { kind: "answered" }
  | { kind: "left" }
  | { kind: "lost"; hadArrived: boolean; cause: Error }
  | { kind: "refused"; error: FlashError };

export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  body: RequestBody;
  /** Path and query as the worker gets them. */
  path: string;
  /** The caller has the server's key. */
  isOperator: boolean;
  /** The peer is a proxy of ours. */
  trustsProxy: boolean;
  /** Names and values that the gateway adds for the worker. */
  ownHeaders: readonly string[];
  /** For messages. */
  endpoint: string;
  /** Until the answer begins, ms. */
  timeoutMs: number;
}

export interface ChosenWorker {
  id: string;
  link: WorkerLink;
  /** Put on for a live worker, when the caller may run code there. */
  liveSecret: string | undefined;
}

export function forward(exchange: Exchange, worker: ChosenWorker): Promise<Outcome> {
  return new Promise((resolve) => {
    new Hop(exchange, worker, resolve).start();
  });
}

class Hop {
  readonly #exchange: Exchange;
  readonly #workerId: string;
  readonly #upstream: ClientRequest;
  readonly #finish: (outcome: Outcome) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #onClientClose = (): void => this.#clientClosed();
  #state: "connecting" | "sent" | "answering" | "over" = "connecting";

  constructor(exchange: Exchange, worker: ChosenWorker, finish: (outcome: Outcome) => void) {
    this.#exchange = exchange;
    this.#workerId = worker.id;
    this.#finish = finish;
    this.#upstream = worker.link.request({
      method: exchange.request.method ?? "GET",
      path: exchange.path,
      headers: withOwn(
        headersForWorker(factsOf(exchange.request), {
          trustsProxy: exchange.trustsProxy,
          liveSecret: worker.liveSecret,
        }),
        exchange.ownHeaders,
      ),
    });
    this.#timer = setTimeout(() => this.#tooSlow(), exchange.timeoutMs);
  }

  start(): void {
    const { body, response } = this.#exchange;
    const upstream = this.#upstream;
    response.once("close", this.#onClientClose);
    upstream.once("response", (answer) => this.#guard(() => this.#answer(answer)));
    upstream.on("information", (info) => this.#guard(() => this.#inform(info)));
    upstream.on("error", (cause) => this.#failed(cause));
    upstream.once("socket", (socket: Socket) => {
      if (socket.connecting) socket.once("connect", () => this.#connected());
      else this.#connected();
    });
    // Without a body nothing can be lost by sending early.
    if (body.isEmpty) upstream.end();
  }

  /** The body is touched only when there is a worker on the other side. */
  #connected(): void {
    if (this.#state !== "connecting") return;
    this.#state = "sent";
    const { body } = this.#exchange;
    if (!body.isEmpty) body.sendTo(sinkOf(this.#upstream), { onTooLarge: () => this.#tooLarge() });
  }

  #answer(answer: IncomingMessage): void {
    if (this.#state === "over") return;
    this.#state = "answering";
    clearTimeout(this.#timer);
    const { response, request } = this.#exchange;
    if (
      Number(answer.headers["content-length"] ?? 0) > LIMITS.lbBodyBytes &&
      request.method !== "HEAD"
    ) {
      this.#refuse(answerTooLarge(this.#exchange.endpoint));
      return;
    }
    const headers = headersForClient(answer.rawHeaders, this.#workerId);
    const { trailer } = answer.headers;
    const isChunked = answer.headers["content-length"] === undefined;
    if (trailer !== undefined && isChunked && request.httpVersionMinor === 1) {
      headers.push("Trailer", trailer);
    }
    // What is left of an unread request would be taken for the next one.
    if (!request.complete) headers.push("Connection", "close");
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? "", headers);
    this.#stream(answer);
  }

  #stream(answer: IncomingMessage): void {
    const { response } = this.#exchange;
    // Events may come for as long as both sides like; anything else has a size.
    const isEvents = answer.headers["content-type"]?.startsWith("text/event-stream") === true;
    let left = isEvents ? Number.POSITIVE_INFINITY : LIMITS.lbBodyBytes;
    if (isEvents) response.flushHeaders();
    this.#upstream.setTimeout(LIMITS.lbProcessingMs, () => this.#breakOff());
    answer.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) this.#breakOff();
      else if (!response.write(chunk)) answer.pause();
    });
    response.on("drain", () => answer.resume());
    answer.once("end", () => this.#guard(() => this.#end(answer)));
    // The worker died in the middle: the client has to see that the answer is not whole.
    answer.once("error", () => this.#breakOff());
  }

  #end(answer: IncomingMessage): void {
    const { response } = this.#exchange;
    if (answer.rawTrailers.length > 0 && response.chunkedEncoding) {
      response.addTrailers(pairsOf(answer.rawTrailers));
    }
    response.end();
    this.#over({ kind: "answered" });
  }

  /** What a worker sends may be something that node:http refuses to write: its own answer breaks, no more. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (cause) {
      if (this.#exchange.response.headersSent) this.#breakOff();
      else this.#refuse(answerUnfit(this.#exchange.endpoint, cause));
    }
  }

  /** Early hints pass; `100 Continue` is the gateway's own business. */
  #inform(info: { statusCode: number; headers: NodeJS.Dict<string | string[]> }): void {
    const { response } = this.#exchange;
    const { link } = info.headers;
    if (response.headersSent) return;
    if (info.statusCode === 103 && link !== undefined) response.writeEarlyHints({ link });
    else if (info.statusCode === 102) response.writeProcessing();
  }

  #failed(cause: Error): void {
    if (this.#state === "answering") this.#breakOff();
    else this.#over({ kind: "lost", hadArrived: this.#state === "sent", cause });
  }

  #clientClosed(): void {
    if (this.#exchange.response.writableFinished) return;
    this.#over({ kind: "left" });
    this.#upstream.destroy();
  }

  #tooSlow(): void {
    const { endpoint, timeoutMs } = this.#exchange;
    this.#refuse(notInTime(endpoint, timeoutMs));
  }

  #tooLarge(): void {
    if (this.#state === "answering") this.#breakOff();
    else this.#refuse(requestTooLarge());
  }

  #refuse(error: FlashError): void {
    this.#over({ kind: "refused", error });
    this.#upstream.destroy();
  }

  /** Both connections end without a proper end of the message. */
  #breakOff(): void {
    this.#over({ kind: "answered" });
    this.#upstream.destroy();
    this.#exchange.response.destroy();
  }

  #over(outcome: Outcome): void {
    if (this.#state === "over") return;
    this.#state = "over";
    clearTimeout(this.#timer);
    this.#exchange.response.off("close", this.#onClientClose);
    if (outcome.kind !== "answered") this.#exchange.body.detach();
    this.#finish(outcome);
  }
}

function sinkOf(upstream: ClientRequest): BodySink {
  return {
    write: (chunk) => upstream.write(chunk),
    end: (trailers) => {
      if (trailers.length > 0 && upstream.chunkedEncoding) upstream.addTrailers(trailers);
      upstream.end();
    },
    onDrain: (run) => void upstream.on("drain", run),
  };
}
