/** What went wrong in user code, in the forms that callers, servers and logs are told. */

import { hostname } from "node:os";
import { FlashError, reportOf, type ErrorCode, type ErrorReport } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { retryWishOf, type RetryWish } from "../contract/retry-wish.ts";
import { cleanReport, type StackStyle } from "./stack.ts";

/** Thrown in place of a failure that another worker has reported already, and that goes on as it is. */
export class JudgedElsewhere {
  readonly error: FlashError;

  constructor(error: FlashError) {
    this.error = error;
  }
}

/** Wraps what a function threw. `cause` is the thrown value itself. */
export function functionError(thrown: unknown, style: StackStyle): FlashError {
  if (thrown instanceof JudgedElsewhere) return thrown.error;
  const report = cleanReport(reportOf(thrown), style);
  const status = statusOf(thrown);
  return new FlashError("FUNCTION_ERROR", report.message === "" ? report.name : report.message, {
    cause: thrown,
    details: { error: report },
    ...(status === undefined ? {} : { status }),
  });
}

/** The user's error inside a failure, or the failure itself when Flash found the fault. */
export function reportOfFailure(error: FlashError, style: StackStyle): ErrorReport {
  return (error.details?.error as ErrorReport | undefined) ?? cleanReport(reportOf(error), style);
}

/** Body of a failed job's `job-done`. The inner text is the protocol's; `error_report` is ours. */
export function jobFailureBody(
  error: FlashError,
  who: { workerId: string; version: string; style: StackStyle },
): Record<string, unknown> {
  const report = reportOfFailure(error, who.style);
  const text = JSON.stringify({
    error_type: report.name,
    error_message: report.message,
    error_traceback: report.stack ?? "",
    hostname: hostname(),
    worker_id: who.workerId,
    runpod_version: who.version,
    error_report: report,
  });
  const kind = error.code === "EXECUTION_TIMEOUT" ? { failure: "timeout" } : {};
  return { error: text, ...wishOf(error), ...kind };
}

/** An input that does not fit never will; a time that is over is final; an error may say so of itself. */
function wishOf(error: FlashError): RetryWish {
  const isFinal =
    error.code === "INVALID_INPUT" || error.code === "EXECUTION_TIMEOUT" || isLoop(error.cause);
  return isFinal ? { retryable: false } : retryWishOf(error.cause);
}

/** A loop of calls is in the code: it would be found again. The error has come through all of its functions. */
function isLoop(thrown: unknown): boolean {
  let cause = thrown;
  for (let depth = 0; depth < 2 * LIMITS.callDepth; depth++) {
    if (typeof cause !== "object" || cause === null) return false;
    const { code, cause: next } = cause as { code?: unknown; cause?: unknown };
    if (code === ("CALL_LOOP" satisfies ErrorCode)) return true;
    cause = next;
  }
  return false;
}

/** A function chooses its HTTP status by throwing an error that has one. */
function statusOf(thrown: unknown): number | undefined {
  if (typeof thrown !== "object" || thrown === null) return undefined;
  const { status, statusCode } = thrown as { status?: unknown; statusCode?: unknown };
  return [status, statusCode].find(
    (one): one is number =>
      typeof one === "number" && Number.isInteger(one) && one >= 400 && one <= 599,
  );
}
