/** The head of a worker's answer on the request link, read and checked. */

import { headParts } from "../../contract/lb-link.ts";
import { answerHead, type AnswerHead } from "../edge/answer.ts";
import type { RequestLink } from "../workers/request-link.ts";
import { headersForClient, valueOf } from "./lb-headers.ts";

/** Source: RFC 9112 4. */
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

export class WorkerAnswer {
  readonly status: number;
  readonly reason: string;
  /** For the client: names and values, in turn. */
  readonly headers: readonly string[];
  /** Its Content-Length, as it was written. */
  readonly length: string | undefined;
  /** A stream of events. */
  readonly isEvents: boolean;
  #plain: AnswerHead | undefined;

  constructor(status: number, reason: string, given: { raw: readonly string[]; workerId: string }) {
    this.status = status;
    this.reason = reason;
    this.headers = headersForClient(given.raw, given.workerId);
    this.length = valueOf(given.raw, "content-length");
    this.isEvents = valueOf(given.raw, "content-type")?.startsWith("text/event-stream") === true;
  }

  /** Throws for what is no HTTP. */
  check(): void {
    this.#plain ??= answerHead(this.status, this.headers, this.reason);
  }

  /** As the edge writes it. Throws for what is no HTTP. */
  get plain(): AnswerHead {
    return (this.#plain ??= answerHead(this.status, this.headers, this.reason));
  }
}

/** What a worker said last, with what was made of it: most answers of a worker have the same head. */
const last = new WeakMap<RequestLink, { bytes: Buffer; answer: WorkerAnswer }>();

/** Throws for what is no head of an answer. */
export function readAnswer(
  payload: Buffer,
  { id, frames }: { id: string; frames: RequestLink },
): WorkerAnswer {
  const known = last.get(frames);
  if (known?.bytes.length === payload.length && known.bytes.compare(payload) === 0) {
    return known.answer;
  }
  const [status = "", reason = "", ...raw] = headParts(payload);
  const code = Number(status);
  // 1xx would leave the client waiting for the answer proper.
  if (!Number.isInteger(code) || code < 200 || code > 599 || raw.length % 2 !== 0) {
    throw new Error("its head is none");
  }
  // Checked before node:http does, which would keep it for the problem document.
  if (!REASON.test(reason)) throw new Error("its reason is no text");
  const answer = new WorkerAnswer(code, reason, { raw, workerId: id });
  last.set(frames, { bytes: Buffer.from(payload), answer });
  return answer;
}
