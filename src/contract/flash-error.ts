/**
 * The one error class and the closed list of its codes with their HTTP status. `errors.ts` says the
 * rest about a code, and how errors travel; clients load only this file before their first call.
 */

export const ERROR_STATUS = {
  // The request.
  INVALID_INPUT: 422,
  INVALID_REQUEST: 400,
  NOT_ACCEPTED: 400,
  NOT_SERIALIZABLE: 422,
  PAYLOAD_TOO_LARGE: 413,
  METHOD_NOT_ALLOWED: 405,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  ROUTE_NOT_FOUND: 404,
  ENDPOINT_NOT_FOUND: 404,
  JOB_NOT_FOUND: 404,
  WRONG_ENDPOINT_KIND: 400,
  CONFLICT: 409,
  CALL_LOOP: 508,

  // The project and its configuration.
  INVALID_OPTIONS: 400,
  INVALID_USAGE: 400,
  INVALID_CONFIG: 400,
  INVALID_MANIFEST: 400,
  BUILD_FAILED: 400,
  NOT_DEPLOYED: 409,

  // The user's function.
  FUNCTION_ERROR: 500,
  INVALID_OUTPUT: 500,
  EXECUTION_TIMEOUT: 504,
  CANCELLED: 499,
  JOB_EXPIRED: 410,

  // The platform.
  WORKER_LOST: 502,
  WORKER_START_FAILED: 503,
  NO_WORKER: 503,
  OVERLOADED: 429,
  STORAGE_FULL: 507,
  UNAVAILABLE: 503,
  SERVER_NOT_RUNNING: 503,
  CONNECTION_FAILED: 502,
  REMOTE_ERROR: 502,
  CALL_TIMEOUT: 504,
  STALE_DESCRIPTION: 412,
  NOT_SUPPORTED: 501,
  INTERNAL: 500,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof ERROR_STATUS;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERROR_STATUS, value);
}

/** One thing that is wrong with an input, found at `path`. */
export interface Issue {
  /** JSON path without the leading `$`: `x`, `user.emails[0]`, empty for the whole input. */
  path: string;
  /** The rest of the sentence "{path} …": `must be a number, got "a"`. */
  message: string;
}

export interface FlashErrorOptions {
  /** The next step for the reader, a whole sentence. */
  hint?: string;
  issues?: Issue[];
  /** Structured facts for programs; must be JSON. */
  details?: Record<string, unknown>;
  cause?: unknown;
  /** HTTP status when it differs from the table's: a function may choose its own. */
  status?: number;
}

const BRAND = Symbol.for("runpod-flash.error");

/**
 * Every error that Flash itself raises. User bundles carry their own copy of this class, so test
 * with {@link FlashError.is}, never with `instanceof`.
 */
export class FlashError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly issues: Issue[] | undefined;
  readonly details: Record<string, unknown> | undefined;
  /** HTTP status of this error. */
  readonly status: number;
  readonly [BRAND] = true;

  constructor(code: ErrorCode, message: string, options: FlashErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "FlashError";
    this.code = code;
    this.hint = options.hint;
    this.issues = options.issues;
    this.details = options.details;
    this.status = options.status ?? ERROR_STATUS[code];
  }

  /** True for a FlashError of any copy of the package. */
  static is(value: unknown): value is FlashError {
    return typeof value === "object" && value !== null && BRAND in value;
  }
}
