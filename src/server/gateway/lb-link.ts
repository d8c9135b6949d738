/**
 * One try to have a worker answer a request, over its request link. It means what lb-forward means
 * over HTTP. What HTTP's parser would check is checked here: the worker's answer has a status and a
 * length that the client can rely on, or is visibly broken. How the request came in makes no
 * difference beyond {@link LinkClient}.
 */

import type { FlashError } from "../../contract/errors.ts";
import { headParts } from "../../contract/lb-link.ts";
import { LIMITS } from "../../contract/limits.ts";
import { TIMING_HEADER } from "../../contract/worker-env.ts";
import type { EndpointMetrics } from "../metrics/endpoint-metrics.ts";
import type { RequestLink, RequestStream, StreamEvents } from "../workers/request-link.ts";
import { readAnswer, type WorkerAnswer } from "./lb-answer.ts";
import { valueOf } from "./lb-headers.ts";
import { answerTooLarge, answerUnfit, notInTime, requestTooLarge } from "./lb-refusals.ts";
import type { Outcome } from "./lb-forward.ts";

/** What happens on the client's side. */
export interface ClientEvents {
  clientGone(): void;
  /** `write` has said false, and the client has read it. */
  clientDrained(): void;
  /** The request's body is over the limit. */
  bodyTooLarge(): void;
}

/** The client's side of an exchange: its request, and where the answer goes. */
export interface LinkClient {
  readonly method: string;
  /** All of the request has been read; what is left would be taken for the next one. */
  readonly isRead: boolean;
  /** Some of the answer has been said, and cannot be taken back. */
  readonly isBegun: boolean;
  /** Everything has been said and handed on. */
  readonly isDone: boolean;
  /** For messages. */
  readonly endpoint: string;
  /** Until the answer begins, ms. */
  readonly timeoutMs: number;
  /** Is told about the client, until `leave`. */
  hop: ClientEvents | undefined;
  /** Sends the request. Undefined: its head is too long. */
  send(worker: LinkedWorker, events: StreamEvents): RequestStream | undefined;
  /** The worker gets no more of the body. */
  detach(): void;
  /** The whole answer. */
  answer(head: WorkerAnswer, body: Buffer): void;
  begin(head: WorkerAnswer): void;
  write(bytes: Buffer): boolean;
  end(): void;
  breakOff(): void;
  /** Nothing more is to be called. */
  leave(): void;
}

export interface LinkedWorker {
  id: string;
  frames: RequestLink;
  /** For live workers, when the request may run code there. */
  liveSecret: string | undefined;
  /** Where to say what the hop adds, for requests that are timed on both sides. */
  timed?: EndpointMetrics | undefined;
}

/** Sends the request; `finish` is called once, never before this has returned. */
export function forwardOverLink(
  client: LinkClient,
  worker: LinkedWorker,
  finish: (outcome: Outcome) => void,
): void {
  new LinkHop(client, worker, finish).start();
}

class LinkHop implements StreamEvents, ClientEvents {
  readonly #client: LinkClient;
  readonly #worker: LinkedWorker;
  readonly #finish: (outcome: Outcome) => void;
  #timer: NodeJS.Timeout | undefined;
  #stream: RequestStream | undefined;
  #state: "sent" | "answering" | "over" = "sent";
  /** Monotonic, ms. */
  #sentAt = 0;
  /** The answer's head, until it is known whether its body comes in one piece. */
  #head: WorkerAnswer | undefined;
  /** Bytes that the answer may still have. */
  #left: number = LIMITS.lbBodyBytes;
  /** It has announced them, and has to send all. */
  #isExact = false;
  #isStreaming = false;
  /** Bytes that wait for the client. */
  #unread = 0;

  constructor(client: LinkClient, worker: LinkedWorker, finish: (outcome: Outcome) => void) {
    this.#client = client;
    this.#worker = worker;
    this.#finish = finish;
  }

  start(): void {
    const client = this.#client;
    client.hop = this;
    this.#timer = setTimeout(() => this.#tooSlow(), client.timeoutMs);
    if (this.#worker.timed !== undefined) this.#sentAt = performance.now();
    this.#stream = client.send(this.#worker, this);
    if (this.#stream !== undefined) return;
    const error = answerUnfit(client.endpoint, new Error("the head is too long"));
    queueMicrotask(() => this.#refuse(error));
  }

  onHead(payload: Buffer, isLast: boolean): void {
    if (this.#state === "over") return;
    this.#state = "answering";
    clearTimeout(this.#timer);
    if (this.#worker.timed !== undefined) this.#time(payload, this.#worker.timed);
    try {
      this.#readHead(payload);
    } catch (cause) {
      this.#breakOr(answerUnfit(this.#client.endpoint, cause));
      return;
    }
    if (isLast) this.onBody(NOTHING, true);
  }

  #time(payload: Buffer, { hopSeconds }: EndpointMetrics): void {
    const [, , ...raw] = headParts(payload);
    const workerMs = Number(valueOf(raw, TIMING_HEADER) ?? Number.NaN);
    const addedMs = performance.now() - this.#sentAt - workerMs;
    if (addedMs >= 0) hopSeconds.observe(addedMs / 1000);
  }

  onBody(bytes: Buffer, isLast: boolean): void {
    if (this.#state === "over") return;
    this.#left -= bytes.length;
    if (this.#left < 0 || (isLast && this.#isExact && this.#left > 0)) {
      this.#breakOff();
      return;
    }
    try {
      this.#say(bytes, isLast);
    } catch (cause) {
      this.#breakOr(answerUnfit(this.#client.endpoint, cause));
      return;
    }
    if (isLast) this.#over(ANSWERED);
  }

  onReset(): void {
    const { endpoint } = this.#client;
    this.#breakOr(answerUnfit(endpoint, new Error("the worker has broken it off")));
  }

  onLost(cause: Error, hadArrived: boolean): void {
    if (this.#client.isBegun) this.#breakOff();
    else this.#over({ kind: "lost", hadArrived: hadArrived || this.#state === "answering", cause });
  }

  #readHead(payload: Buffer): void {
    const client = this.#client;
    const head = readAnswer(payload, this.#worker);
    const isBodiless = client.method === "HEAD" || head.status === 204 || head.status === 304;
    if (head.length !== undefined && !isBodiless) {
      if (!/^\d{1,15}$/.test(head.length)) throw new Error("its length is no number");
      this.#isExact = true;
      this.#left = Number(head.length);
      if (this.#left > LIMITS.lbBodyBytes) {
        this.#refuse(answerTooLarge(client.endpoint));
        return;
      }
    }
    this.#head = head;
    if (!head.isEvents) return;
    // Events may come for as long as both sides like; anything else has a size.
    if (!this.#isExact) this.#left = Number.POSITIVE_INFINITY;
    this.#head = undefined;
    client.begin(head);
  }

  /** A head that HTTP does not allow shows here: it throws, and nothing has been said. */
  #say(bytes: Buffer, isLast: boolean): void {
    const client = this.#client;
    const head = this.#head;
    this.#head = undefined;
    if (head !== undefined && isLast) {
      client.answer(head, bytes);
      return;
    }
    if (head !== undefined) client.begin(head);
    if (bytes.length > 0) this.#pass(bytes);
    if (isLast) client.end();
  }

  #pass(bytes: Buffer): void {
    this.#watchSilence();
    if (this.#client.write(bytes)) this.#stream?.in.used(bytes.length);
    // Granted when the client has read it: that is what slows the worker down.
    else this.#unread += bytes.length;
  }

  clientDrained(): void {
    const bytes = this.#unread;
    this.#unread = 0;
    if (bytes > 0) this.#stream?.in.used(bytes);
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

  bodyTooLarge(): void {
    this.#breakOr(requestTooLarge());
  }

  clientGone(): void {
    if (this.#client.isDone) return;
    this.#over({ kind: "left" });
    this.#stream?.reset();
  }

  #tooSlow(): void {
    const { endpoint, timeoutMs } = this.#client;
    this.#refuse(notInTime(endpoint, timeoutMs));
  }

  /** Says why, when there is still somebody to be told. */
  #breakOr(error: FlashError): void {
    if (this.#client.isBegun) this.#breakOff();
    else this.#refuse(error);
  }

  #refuse(error: FlashError): void {
    this.#over({ kind: "refused", error });
    this.#stream?.reset();
  }

  /** The client has to see that the answer is not whole. */
  #breakOff(): void {
    this.#over(ANSWERED);
    this.#stream?.reset();
    this.#client.breakOff();
  }

  #over(outcome: Outcome): void {
    if (this.#state === "over") return;
    this.#state = "over";
    clearTimeout(this.#timer);
    this.#client.leave();
    if (outcome.kind !== "answered") this.#client.detach();
    this.#finish(outcome);
  }
}

const ANSWERED: Outcome = { kind: "answered" };
const NOTHING = Buffer.alloc(0);
