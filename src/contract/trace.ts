/**
 * W3C trace context: the two headers by which a call belongs to a trace, whoever has started it.
 * Source: https://www.w3.org/TR/trace-context/.
 */

export interface Trace {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of the span that work done here belongs to, 16 hexadecimal digits. */
  readonly spanId: string;
  /** Whether those who trace should keep it. */
  readonly isSampled: boolean;
  /** What tracing systems have added, as it came. */
  readonly state?: string;
}

export const TRACE_HEADERS = { parent: "traceparent", state: "tracestate" } as const;

/** A later version may have more behind the flags; of this one there is nothing. */
const PARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** A longer state may be dropped; it is never cut. */
const MAX_STATE = 512;
const SAMPLED = 1;

/** Undefined for what is no trace context: the receiver then starts a trace of its own. */
export function readTrace(parent: unknown, state?: unknown): Trace | undefined {
  const match = typeof parent === "string" ? PARENT.exec(parent) : null;
  if (match === null) return undefined;
  const [, version, traceId = "", spanId = "", flags = "", rest] = match;
  if (version === "00" && rest !== undefined) return undefined;
  const isSampled = (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED;
  return {
    traceId,
    spanId,
    isSampled,
    ...(isState(state) ? { state } : {}),
  };
}

function isState(state: unknown): state is string {
  return typeof state === "string" && state !== "" && state.length <= MAX_STATE;
}

/** The value of `traceparent`. */
export function traceparentOf({ traceId, spanId, isSampled }: Trace): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}
