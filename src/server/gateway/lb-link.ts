/**
 * One try to have a worker answer a request, over its request link. It means what lb-forward means
 * over HTTP. What HTTP's parser would check is checked here: the worker's answer has a status and a
 * length that the client can rely on, or is visibly broken.
 */

import type { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { RequestLink, RequestStream } from "../workers/request-link.ts";
import {
  answerTooLarge,
  answerUnfit,
  notInTime,
  requestTooLarge,
  type Exchange,
  type Outcome,
} from "./lb-forward.ts";
import { headersForClient, headersForWorker, valueOf } from "./lb-headers.ts";

/** Bodies up to this size are written in one piece with the head, bytes. */
const SMALL_BODY = 16 * 1024;

/** Source: RFC 9112 4. */
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

export interface LinkedWorker {
  id: string;
  frames: RequestLink;
  /** For live workers, when the request may run code there. */
  liveSecret: string | undefined;
}

export function forwardOverLink(exchange: Exchange, worker: LinkedWorker): Promise<Outcome> {
  return new Promise((resolve) => {
    new LinkHop(exchange, worker, resolve).start();
  });
}

class LinkHop {
  readonly #exchange: Exchange;
  readonly #worker: LinkedWorker;
  readonly #finish: (outcome: Outcome) => void;
  readonly #onClientClose = (): void => this.#clientClosed();
  readonly #onClientDrain = (): void => this.#clientDrained();
  #timer: NodeJS.Timeout | undefined;
  #stream: RequestStream | undefined;
  #state: "sent" | "answering" | "over" = "sent";
  /** Bytes that the answer may still have. */
  #left: number = LIMITS.lbBodyBytes;
  /** It has announced them, and has to send all. */
  #isExact = false;
  #isStreaming = false;
  /** Bytes that wait for the client. */
  #unread = 0;

  constructor(exchange: Exchange, worker: LinkedWorker, finish: (outcome: Outcome) => void) {
    this.#exchange = exchange;
    this.#worker = worker;
    this.#finish = finish;
  }

  start(): void {
    const { frames, liveSecret } = this.#worker;
    const { request, response, body, path, timeoutMs } = this.#exchange;
    response.once("close", this.#onClientClose);
    this.#timer = setTimeout(() => this.#tooSlow(), timeoutMs);
    const head = [request.method ?? "GET", path, ...headersForWorker(request, liveSecret)];
    const stream = frames.open(head, {
      isLast: body.isEmpty,
      events: {
        onHead: (parts, isLast) => this.#answer(parts, isLast),
        onBody: (bytes, isLast) => this.#body(bytes, isLast),
        onReset: () => this.#gaveUp(),
        onLost: (cause, hadArrived) => this.#lost(cause, hadArrived),
      },
    });
    if (stream === undefined) {
      this.#refuse(answerUnfit(this.#exchange.endpoint, new Error("the head is too long")));
      return;
    }
    this.#stream = stream;
    if (body.isEmpty) return;
    const { out } = stream;
    const sink = {
      write: (chunk: Buffer) => out.write(chunk),
      end: () => out.end(),
      onDrain: (run: () => void) => out.onDrain(run),
    };
    body.sendTo(sink, { onTooLarge: () => this.#tooLarge() });
  }

  #answer(parts: string[], isLast: boolean): void {
    if (this.#state === "over") return;
    this.#state = "answering";
    clearTimeout(this.#timer);
    const [status = "", reason = "", ...raw] = parts;
    try {
      this.#head(Number(status), reason, raw);
    } catch (cause) {
      this.#breakOr(answerUnfit(this.#exchange.endpoint, cause));
      return;
    }
    if (isLast) this.#body(NOTHING, true);
  }

  #head(status: number, reason: string, raw: readonly string[]): void {
    const { response, request, endpoint } = this.#exchange;
    // 1xx would leave the client waiting for the answer proper.
    if (!Number.isInteger(status) || status < 200 || status > 599 || raw.length % 2 !== 0) {
      throw new Error("its head is none");
    }
    // Checked before node:http does, which would keep it for the problem document.
    if (!REASON.test(reason)) throw new Error("its reason is no text");
    const isBodiless = request.method === "HEAD" || status === 204 || status === 304;
    const length = valueOf(raw, "content-length");
    if (length !== undefined && !isBodiless) {
      if (!/^\d{1,15}$/.test(length)) throw new Error("its length is no number");
      if (Number(length) > LIMITS.lbBodyBytes) {
        this.#refuse(answerTooLarge(endpoint));
        return;
      }
      this.#isExact = true;
      this.#left = Number(length);
    }
    const headers = headersForClient(raw, this.#worker.id);
    // What is left of an unread request would be taken for the next one.
    if (!request.complete) headers.push("Connection", "close");
    response.writeHead(status, reason, headers);
    // Events may come for as long as both sides like; anything else has a size.
    if (valueOf(raw, "content-type")?.startsWith("text/event-stream") === true) {
      if (!this.#isExact) this.#left = Number.POSITIVE_INFINITY;
      response.flushHeaders();
    }
  }

  #body(bytes: Buffer, isLast: boolean): void {
    if (this.#state === "over") return;
    this.#left -= bytes.length;
    if (this.#left < 0 || (isLast && this.#isExact && this.#left > 0)) {
      this.#breakOff();
      return;
    }
    if (isLast) this.#end(bytes);
    else this.#pass(bytes);
  }

  #pass(bytes: Buffer): void {
    const { response } = this.#exchange;
    this.#watchSilence();
    if (response.write(bytes)) this.#stream?.in.used(bytes.length);
    else {
      // Granted when the client has read it: that is what slows the worker down.
      if (this.#unread === 0) response.once("drain", this.#onClientDrain);
      this.#unread += bytes.length;
    }
  }

  #clientDrained(): void {
    const bytes = this.#unread;
    this.#unread = 0;
    this.#stream?.in.used(bytes);
  }

  /** A worker that has begun and says nothing more does not hold the client for ever. */
  #watchSilence(): void {
    if (this.#isStreaming) {
      this.#timer?.refresh();
      return;
    }
    this.#isStreaming = true;
    this.#timer = setTimeout(() => this.#breakOff(), LIMITS.lbProcessingMs);
  }

  #end(bytes: Buffer): void {
    const { response } = this.#exchange;
    // One write with the head, as long as copying costs less than a second one.
    if (bytes.length === 0) response.end();
    else if (bytes.length <= SMALL_BODY) {
      response.end(bytes.toString("latin1"), "latin1");
    } else response.end(bytes);
    this.#over({ kind: "answered" });
  }

  #gaveUp(): void {
    this.#breakOr(answerUnfit(this.#exchange.endpoint, new Error("the worker has broken it off")));
  }

  #lost(cause: Error, hadArrived: boolean): void {
    if (this.#state === "answering") this.#breakOff();
    else this.#over({ kind: "lost", hadArrived, cause });
  }

  #clientClosed(): void {
    if (this.#exchange.response.writableFinished) return;
    this.#over({ kind: "left" });
    this.#stream?.reset();
  }

  #tooSlow(): void {
    const { endpoint, timeoutMs } = this.#exchange;
    this.#refuse(notInTime(endpoint, timeoutMs));
  }

  #tooLarge(): void {
    this.#breakOr(requestTooLarge());
  }

  /** Says why, when there is still somebody to be told. */
  #breakOr(error: FlashError): void {
    if (this.#exchange.response.headersSent) this.#breakOff();
    else this.#refuse(error);
  }

  #refuse(error: FlashError): void {
    this.#over({ kind: "refused", error });
    this.#stream?.reset();
  }

  /** The client has to see that the answer is not whole. */
  #breakOff(): void {
    this.#over({ kind: "answered" });
    this.#stream?.reset();
    this.#exchange.response.destroy();
  }

  #over(outcome: Outcome): void {
    if (this.#state === "over") return;
    this.#state = "over";
    clearTimeout(this.#timer);
    const { response, body } = this.#exchange;
    response.off("close", this.#onClientClose);
    response.off("drain", this.#onClientDrain);
    if (outcome.kind !== "answered") body.detach();
    this.#finish(outcome);
  }
}

const NOTHING = Buffer.alloc(0);
