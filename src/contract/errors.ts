/**
 * What is known about each error code, and errors on their way: exit codes, problem documents, and
 * reports of what user code has thrown. The class itself is in `flash-error.ts`.
 *
 * A code says who is to blame (`caller`: the request or the configuration, `code`: the user's
 * function, `platform`: Flash or what it runs on), whether the same call may be tried again,
 * which HTTP status it has, and which exit code the command line ends with. Messages say what
 * happened to which thing; `hint` says the next step.
 */

import { FlashError, isErrorCode, type ErrorCode, type Issue } from "./flash-error.ts";

export * from "./flash-error.ts";

export type Blame = "caller" | "code" | "platform";

export interface ErrorEntry {
  /** One short sentence, the `title` of the problem document. */
  title: string;
  /** Exit code of the command line: 1 work failed, 2 usage, 3 authentication, 4 remote or network. */
  exit: 1 | 2 | 3 | 4;
  blame: Blame;
  /** True when the same call may succeed later without a change. */
  retry: boolean;
}

function entry(title: string, exit: ErrorEntry["exit"], blame: Blame, retry = false): ErrorEntry {
  return { title, exit, blame, retry };
}

export const ERRORS = {
  // The request.
  INVALID_INPUT: entry("The input does not match the function", 2, "caller"),
  INVALID_REQUEST: entry("The request is not understood", 2, "caller"),
  NOT_ACCEPTED: entry("The job was refused before it was accepted", 2, "caller"),
  NOT_SERIALIZABLE: entry("A value cannot be carried as JSON", 2, "caller"),
  PAYLOAD_TOO_LARGE: entry("The payload is over the limit", 2, "caller"),
  METHOD_NOT_ALLOWED: entry("The route exists with another method", 2, "caller"),
  UNSUPPORTED_MEDIA_TYPE: entry("The body's media type is not supported", 2, "caller"),
  UNAUTHORIZED: entry("No valid key was given", 3, "caller"),
  FORBIDDEN: entry("The key does not allow this", 3, "caller"),
  NOT_FOUND: entry("There is no such thing", 1, "caller"),
  ROUTE_NOT_FOUND: entry("No route matches the request", 1, "caller"),
  ENDPOINT_NOT_FOUND: entry("There is no such endpoint", 1, "caller"),
  JOB_NOT_FOUND: entry("There is no such job", 1, "caller"),
  WRONG_ENDPOINT_KIND: entry("The endpoint is of the other kind", 2, "caller"),
  CONFLICT: entry("The state does not allow this", 1, "caller"),
  CALL_LOOP: entry("Endpoints wait for each other", 1, "caller"),

  // The project and its configuration.
  INVALID_OPTIONS: entry("An endpoint option is wrong", 2, "caller"),
  INVALID_USAGE: entry("The SDK or the command is used in a way that cannot work", 2, "caller"),
  INVALID_CONFIG: entry("The configuration file is wrong", 2, "caller"),
  INVALID_MANIFEST: entry("The manifest cannot be used", 2, "caller"),
  BUILD_FAILED: entry("The project cannot be built", 1, "caller"),
  NOT_DEPLOYED: entry("The endpoint is not deployed", 1, "caller"),

  // The user's function.
  FUNCTION_ERROR: entry("The function threw an error", 1, "code"),
  INVALID_OUTPUT: entry("The function's result cannot be returned", 1, "code"),
  EXECUTION_TIMEOUT: entry("The function took longer than its limit", 1, "code"),
  CANCELLED: entry("The work was cancelled", 1, "caller"),
  JOB_EXPIRED: entry("The job's time to live is over", 1, "caller"),

  // The platform.
  WORKER_LOST: entry("The worker died while it ran the work", 4, "platform", true),
  WORKER_START_FAILED: entry("A worker could not start", 4, "platform", true),
  NO_WORKER: entry("No worker became available in time", 4, "platform", true),
  OVERLOADED: entry("The endpoint has too much to do", 4, "platform", true),
  STORAGE_FULL: entry("The server's disk is full", 4, "platform", true),
  UNAVAILABLE: entry("The server cannot do this now", 4, "platform", true),
  SERVER_NOT_RUNNING: entry("No Flash server answers", 4, "platform", true),
  CONNECTION_FAILED: entry("The endpoint cannot be reached", 4, "platform", true),
  REMOTE_ERROR: entry("The endpoint answered with an error", 4, "platform"),
  CALL_TIMEOUT: entry("The call's time is over", 4, "platform", true),
  STALE_DESCRIPTION: entry("The call was made for another release", 4, "platform", true),
  NOT_SUPPORTED: entry("This is not supported here", 1, "platform"),
  INTERNAL: entry("Flash failed", 1, "platform"),
} as const satisfies Record<ErrorCode, ErrorEntry>;

/** Exit code for any thrown value: a FlashError's own, otherwise 1. */
export function exitCodeOf(error: unknown): number {
  // Another copy of the package may know codes that this one does not.
  return FlashError.is(error) && isErrorCode(error.code) ? ERRORS[error.code].exit : 1;
}

/** An RFC 9457 problem document. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: ErrorCode;
  detail: string;
  hint?: string;
  issues?: Issue[];
  /** The user's own error, when the function threw one. */
  error?: ErrorReport;
}

/** Media type of {@link Problem}. */
export const PROBLEM_TYPE = "application/problem+json";

export function problemOf(error: FlashError): Problem {
  const report = error.details?.error as ErrorReport | undefined;
  return {
    type: `https://runpod-flash.dev/errors/${error.code}`,
    title: ERRORS[error.code].title,
    status: error.status,
    code: error.code,
    detail: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.issues === undefined ? {} : { issues: error.issues }),
    ...(report === undefined ? {} : { error: report }),
  };
}

/** The reverse of {@link problemOf}; undefined when `value` is no problem document of ours. */
export function errorOfProblem(value: unknown): FlashError | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { code, detail, hint, issues, error, status } = value as { [K in keyof Problem]?: unknown };
  if (!isErrorCode(code)) return undefined;
  const report = typeof error === "object" && error !== null ? (error as ErrorReport) : undefined;
  return new FlashError(code, typeof detail === "string" ? detail : ERRORS[code].title, {
    ...(typeof hint === "string" ? { hint } : {}),
    ...(Array.isArray(issues) ? { issues: issues.filter(isIssue) } : {}),
    ...(report === undefined ? {} : { details: { error: report }, cause: errorOfReport(report) }),
    ...(isFailureStatus(status) ? { status } : {}),
  });
}

function isIssue(value: unknown): value is Issue {
  const { path, message } = (value ?? {}) as { path?: unknown; message?: unknown };
  return typeof path === "string" && typeof message === "string";
}

/** Whatever a peer says, an error never turns into a success or into no status at all. */
function isFailureStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 400 && (value as number) <= 599;
}

/** A user's error as it travels: class name, message, stack (source-mapped) and causes. */
export interface ErrorReport {
  name: string;
  message: string;
  stack?: string;
  /** The error's own `code`, when it has one. */
  code?: string;
  cause?: ErrorReport;
}

/** How deep a chain of causes travels. */
const MAX_CAUSES = 5;

export function reportOf(thrown: unknown, depth = 0): ErrorReport {
  if (!isErrorLike(thrown)) return { name: "Error", message: describeThrown(thrown) };
  const { code, cause } = thrown as { code?: unknown; cause?: unknown };
  return {
    // A subclass that does not set `name` is still known by its class.
    name: thrown.name === "Error" ? (thrown.constructor?.name ?? "Error") : thrown.name,
    message: thrown.message,
    ...(typeof thrown.stack === "string" ? { stack: thrown.stack } : {}),
    ...(typeof code === "string" ? { code } : {}),
    ...(cause === undefined || depth >= MAX_CAUSES ? {} : { cause: reportOf(cause, depth + 1) }),
  };
}

/** Rebuilds an error from its report. It has the name, message, stack, code and causes of the original. */
export function errorOfReport(report: ErrorReport, depth = 0): Error {
  const { name, message, stack, code, cause } = report as { [K in keyof ErrorReport]?: unknown };
  const inner =
    typeof cause === "object" && cause !== null && depth < MAX_CAUSES
      ? { cause: errorOfReport(cause as ErrorReport, depth + 1) }
      : undefined;
  const error = new Error(typeof message === "string" ? message : "", inner);
  error.name = typeof name === "string" ? name : "Error";
  if (typeof stack === "string") error.stack = stack;
  if (typeof code === "string") Object.assign(error, { code });
  return error;
}

function isErrorLike(value: unknown): value is Error {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as Error).message === "string" &&
    typeof (value as Error).name === "string"
  );
}

function describeThrown(value: unknown): string {
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return typeof value === "bigint" ? `${value}n` : Object.prototype.toString.call(value);
  }
}
