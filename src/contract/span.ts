/** A span of a trace, as worker and server hand it on to the exporter. Only its duration and its place matter here. */

import { isPlainJsonObject } from "./json.ts";

export type SpanKind = "internal" | "server" | "consumer";

export interface Span {
  traceId: string;
  spanId: string;
  parentId?: string;
  name: string;
  kind: SpanKind;
  /** Epoch ms, with fractions. */
  startMs: number;
  endMs: number;
  /** What went wrong, if something did. */
  error?: string;
  attributes: Readonly<Record<string, string | number | boolean>>;
  /** Spans that led to this one without being its parent. */
  links?: readonly { traceId: string; spanId: string }[];
  /** `tracestate`. */
  state?: string;
}

/** What a worker says about a function that has run: server and worker name its attempt alike. */
export type FunctionSpan = Pick<
  Span,
  "traceId" | "spanId" | "parentId" | "name" | "startMs" | "endMs" | "error"
>;

/**
 * The span of a job's attempt. Worked out of the names of both, so that the worker knows the parent of
 * what it does without being told.
 */
export function attemptSpanId(jobId: string, attempt: number): string {
  const text = `${jobId}#${attempt}`;
  return hash(text, 0x811c9dc5) + hash(text, 0x01000193);
}

/** FNV-1a, 32 bits as hexadecimal digits. */
function hash(text: string, seed: number): string {
  let value = seed;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, "0");
}

/** What user code may have written in a worker's name; undefined when it is no span. */
export function readFunctionSpan(value: unknown): FunctionSpan | undefined {
  if (!isPlainJsonObject(value)) return undefined;
  const { traceId, spanId, parentId, name, startMs, endMs, error } = value;
  const isSpan =
    isHex(traceId, 32) &&
    isHex(spanId, 16) &&
    (parentId === undefined || isHex(parentId, 16)) &&
    typeof name === "string" &&
    Number.isFinite(startMs) &&
    Number.isFinite(endMs);
  if (!isSpan) return undefined;
  return {
    traceId: traceId as string,
    spanId: spanId as string,
    ...(parentId === undefined ? {} : { parentId: parentId as string }),
    name,
    startMs: startMs as number,
    endMs: endMs as number,
    ...(typeof error === "string" ? { error } : {}),
  };
}

function isHex(value: unknown, length: number): boolean {
  return typeof value === "string" && value.length === length && /^[0-9a-f]+$/.test(value);
}
