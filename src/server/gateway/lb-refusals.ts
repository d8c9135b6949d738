/** What the gateway says when it cannot pass on an answer, and about what. */

import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";

export function notInTime(endpoint: string, timeoutMs: number): FlashError {
  return new FlashError(
    "EXECUTION_TIMEOUT",
    `'${endpoint}' did not answer within ${timeoutMs / 1000} s.`,
    { hint: "Answer earlier, stream the answer, or make it a queue endpoint." },
  );
}

export function requestTooLarge(): FlashError {
  return new FlashError(
    "PAYLOAD_TOO_LARGE",
    `The body is larger than ${LIMITS.lbBodyBytes} bytes, the limit of load-balanced requests.`,
    { hint: "Send a URL to the data instead of the data." },
  );
}

export function answerUnfit(endpoint: string, cause: unknown): FlashError {
  return new FlashError(
    "INVALID_OUTPUT",
    `The answer of '${endpoint}' is not valid HTTP: ${(cause as Error).message}`,
    { status: 502, cause },
  );
}

export function answerTooLarge(endpoint: string): FlashError {
  return new FlashError(
    "INVALID_OUTPUT",
    `The answer of '${endpoint}' is larger than ${LIMITS.lbBodyBytes} bytes.`,
    { hint: "Answer with a URL to the data, or stream it as events.", status: 502 },
  );
}

export function workerLost(endpoint: string, cause: Error): FlashError {
  return new FlashError("WORKER_LOST", `The worker of '${endpoint}' died before it answered.`, {
    hint: "Whether it has acted on the request is not known; send it again if that is safe.",
    cause,
  });
}

/** What the problem document of a refusal has beside: the platform's own shape, for its clients. */
export function refusalMembers(error: unknown): Record<string, unknown> {
  if (!FlashError.is(error)) return {};
  const reason = error.details?.["reason"];
  return { error: error.message, ...(reason === undefined ? {} : { reason }) };
}
