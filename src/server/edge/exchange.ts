/** One plain request and its answer, as those who answer see them. */

import type { Socket } from "node:net";
import type { AnswerHead } from "./answer.ts";
import type { PlainHead } from "./head.ts";

/**
 * Answers a plain request, now or later, and returns true; or returns false at once, having done
 * nothing about it, and node:http answers. Never throws.
 */
export type Responder = (exchange: PlainExchange) => boolean;

/**
 * An answer is said in one piece with `answer`, or with `begin`, any number of `write` and `end`. Once the
 * client has gone, nothing that is said reaches anybody, and saying it does no harm.
 */
export interface PlainExchange {
  readonly head: PlainHead;
  /** All of it; empty when there is none. It may be kept. */
  readonly body: Buffer;
  readonly socket: Socket;
  /** The client has gone before its answer was complete, or the answer was broken off. */
  readonly isGone: boolean;
  /** Called once when the client goes before its answer is complete. */
  onGone: (() => void) | undefined;
  /**
   * Called once when the client ends its side of the connection before its answer is complete. It may
   * have gone, or only have nothing more to ask; see gateway/ended-side.
   */
  onEnded: (() => void) | undefined;
  /** Called once when everything is over, however it went; all of the answer has been handed to the system, or never will be. */
  onOver: (() => void) | undefined;
  /** Called whenever `write` has said false and the client has since read it. */
  onDrain: (() => void) | undefined;
  /** Something of the answer has been said. */
  readonly isBegun: boolean;
  /** The whole answer. A head that has a length has that of `body`. */
  answer(head: AnswerHead, body: Buffer | string): void;
  begin(head: AnswerHead): void;
  /** False: no more until `onDrain`, please. */
  write(bytes: Buffer): boolean;
  end(): void;
  /** Nothing has been said, and node:http is to answer after all. */
  pass(): void;
  /** The connection ends without a proper end of the message. */
  breakOff(): void;
}
