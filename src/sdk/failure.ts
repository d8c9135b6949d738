/** Why a job did not complete, as an error with the function's own error as its cause. */

import { errorOfReport, type ErrorReport } from "../contract/errors.ts";
import { FlashError } from "../contract/flash-error.ts";
import type { JobAttempt, JobFailure } from "../contract/job-failure.ts";
import type { JobDocument } from "../contract/job.ts";
import { parseOrUndefined } from "../contract/json.ts";

/**
 * The error of a job that did not complete. Its `details` say which one, in which state, and where the
 * server tells it why the attempts failed: {@link JobFailureDetails}.
 */
export function jobFailure({ id, status, error, flash }: Partial<JobDocument>): FlashError {
  const { failure, attempts } = flash ?? {};
  const details: JobFailureDetails & Record<string, unknown> = {
    job: id ?? "",
    status: status ?? "UNKNOWN",
    ...(failure === undefined ? {} : { failure }),
    ...(attempts === undefined ? {} : { attempts }),
  };
  if (status === "CANCELLED") {
    return new FlashError("CANCELLED", `remote execution failed: job ${id ?? ""} was cancelled`, {
      details,
    });
  }
  const { message, cause } = readJobError(error);
  const code =
    status === "TIMED_OUT"
      ? "EXECUTION_TIMEOUT"
      : cause === undefined
        ? "REMOTE_ERROR"
        : "FUNCTION_ERROR";
  return new FlashError(code, `remote execution failed: ${message}`, { cause, details });
}

/** `details` of the error of a job that did not complete. */
export interface JobFailureDetails {
  job: string;
  status: string;
  /** Flash servers only. */
  failure?: JobFailure;
  /** Flash servers only; the newest 20. */
  attempts?: readonly JobAttempt[];
}

interface WorkerError {
  error_type?: string;
  error_message?: string;
  error_traceback?: string;
  error_report?: ErrorReport;
}

/**
 * Reads a job's error: JSON text with the fields of Runpod's workers, with our own report beside
 * them when the worker is ours, or plain text. Source: spec/worker-protocol.md 4.
 */
export function readJobError(text: string | undefined): { message: string; cause?: Error } {
  if (text === undefined || text === "") return { message: "the job ended without a result" };
  const value = parseOrUndefined(text);
  if (typeof value !== "object" || value === null) return { message: text };
  const { error_type, error_message, error_traceback, error_report } = value as WorkerError;
  if (typeof error_report === "object") {
    return { message: error_report.message, cause: errorOfReport(error_report) };
  }
  if (typeof error_message !== "string") return { message: text };
  const cause = errorOfReport({
    // Python writes the class as `<class 'ValueError'>`.
    name: /^<class '(?:.*\.)?(.+)'>$/.exec(error_type ?? "")?.[1] ?? error_type ?? "Error",
    message: error_message,
    ...(error_traceback === undefined ? {} : { stack: error_traceback }),
  });
  return { message: error_message, cause };
}
