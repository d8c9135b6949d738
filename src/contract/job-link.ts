/**
 * The job link: one connection over which a server hands jobs to a worker of ours and gets their
 * results. It carries what the worker protocol carries in one HTTP request each, and costs a fraction
 * of it. The worker opens it with an HTTP upgrade to {@link LINK_PROTOCOL}, authorised as every
 * operation of the worker protocol; from then on both sides write frames, a line of JSON each.
 *
 *   worker → server
 *     {"hello":["id",…],"slots":n}               always first: the jobs it still holds, its free slots
 *     {"slots":n}                                n more jobs may come
 *     {"done":"id","attempt":n,"output":…}       the result
 *     {"failed":"id","attempt":n,"body":{…}}     no result: what `job-done` takes
 *     {"progress":"id","attempt":n,"output":…}   the newest progress value
 *     {"chunk":"id","attempt":n,"number":k,"output":…}   the attempt's kth streamed value, from 1
 *     {"drain":true}                             no more jobs, please
 *   server → worker
 *     {"job":{…}}                                one job, as `job-take` gives it; uses up a slot
 *     {"ack":"id"}                               the last post about this job is on the disk
 *     {"stop":["id",…]}                          jobs to give up
 *     {"drained":true}                           after `drain`: no job comes any more
 *
 *   1. The server never has more jobs under way than it was given slots.
 *   2. A worker has one post about a job under way at a time, and offers it on the next link again
 *      until it is acknowledged.
 *   3. What a post is about stands first, in this order and without spaces; the value is the last
 *      member, and reaches the store as it was written.
 */

import { isPlainJsonObject } from "./json.ts";
import { LIMITS } from "./limits.ts";

/** The name in the `Upgrade` header. */
export const LINK_PROTOCOL = "flash-jobs/1";

/** A longer line is no frame. Room for the envelope around a value of the largest size. */
export const MAX_FRAME_CHARACTERS: number = LIMITS.runsyncBodyBytes + 1024 * 1024;

export type PostKind = "done" | "failed" | "progress" | "chunk";

/** A word of the worker about an attempt. */
export interface PostFrame {
  kind: "post";
  post: PostKind;
  jobId: string;
  attempt: number;
  /** Of a chunk: which one of the attempt it is, from 1. What is offered again counts once. */
  number?: number | undefined;
  /** The value, as it was written and parsed. */
  text: string;
  value: unknown;
}

export type WorkerFrame =
  | PostFrame
  | { kind: "hello"; held: string[]; slots: number }
  | { kind: "slots"; slots: number }
  | { kind: "drain" };

export type ServerFrame =
  | { kind: "job"; message: Record<string, unknown> & { id: string } }
  | { kind: "ack"; jobId: string }
  | { kind: "stop"; jobIds: string[] }
  | { kind: "drained" };

/** More than any worker runs at once, or holds. */
const MAX_SLOTS = 100_000;
const POST_HEAD =
  /^\{"(done|failed|progress|chunk)":"([\w.~-]{1,255})","attempt":(\d{1,15}),(?:"number":(\d{1,15}),)?"(output|body)":/;

// Writing.

export function helloFrame(held: readonly string[], slots: number): string {
  return `${JSON.stringify({ hello: held, slots })}\n`;
}

export function slotsFrame(slots: number): string {
  return `{"slots":${slots}}\n`;
}

/** `text`: the value as JSON. */
export function postFrame(post: Omit<PostFrame, "kind" | "value">): string {
  const name = post.post === "failed" ? "body" : "output";
  const number = post.number === undefined ? "" : `"number":${post.number},`;
  return `{"${post.post}":"${post.jobId}","attempt":${post.attempt},${number}"${name}":${oneLine(post.text)}}\n`;
}

export function drainFrame(): string {
  return '{"drain":true}\n';
}

/** `message`: the job as JSON. */
export function jobFrame(message: string): string {
  return `{"job":${oneLine(message)}}\n`;
}

export function ackFrame(jobId: string): string {
  return `{"ack":"${jobId}"}\n`;
}

export function stopFrame(jobIds: readonly string[]): string {
  return `${JSON.stringify({ stop: jobIds })}\n`;
}

export function drainedFrame(): string {
  return '{"drained":true}\n';
}

/** JSON has line feeds only between its tokens, where a space means the same. */
function oneLine(json: string): string {
  return json.includes("\n") ? json.replaceAll("\n", " ") : json;
}

// Reading. Undefined: the line is no frame.

export function readWorkerFrame(line: string): WorkerFrame | undefined {
  const head = POST_HEAD.exec(line);
  if (head !== null) return readPost(line, head);
  const value = parse(line);
  if (!isPlainJsonObject(value)) return undefined;
  const { hello, slots, drain } = value;
  if (drain === true) return { kind: "drain" };
  if (!isSlots(slots)) return undefined;
  if (hello === undefined) return { kind: "slots", slots };
  return isIds(hello) && hello.length <= MAX_SLOTS
    ? { kind: "hello", held: hello, slots }
    : undefined;
}

function readPost(line: string, head: RegExpExecArray): PostFrame | undefined {
  const [start, post, jobId = "", attempt, number, name] = head;
  if ((post === "failed") !== (name === "body") || !line.endsWith("}")) return undefined;
  const text = line.slice(start.length, -1);
  // Other people's documents will hold this text as it is, so it has to be one whole value.
  const value = parse(text);
  if (value === undefined || (post === "failed" && !isPlainJsonObject(value))) return undefined;
  const told = number === undefined ? {} : { number: Number(number) };
  const about = { post: post as PostKind, jobId, attempt: Number(attempt), ...told };
  return { kind: "post", ...about, text, value };
}

export function readServerFrame(line: string): ServerFrame | undefined {
  const value = parse(line);
  if (!isPlainJsonObject(value)) return undefined;
  const { job, ack, stop, drained } = value;
  if (typeof ack === "string") return { kind: "ack", jobId: ack };
  if (isPlainJsonObject(job)) {
    const { id } = job;
    const isJob = typeof id === "string" && "input" in job;
    return isJob ? { kind: "job", message: { ...job, id } } : undefined;
  }
  if (isIds(stop)) return { kind: "stop", jobIds: stop };
  return drained === true ? { kind: "drained" } : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isSlots(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_SLOTS;
}

function isIds(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((id) => typeof id === "string");
}

/** Cuts what a connection brings into lines. */
export class LineReader {
  #parts: string[] = [];
  #length = 0;

  /** The lines that are complete now. Throws a RangeError when one is longer than a frame may be. */
  read(text: string): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      const piece = text.slice(start, end);
      // Joined once, not grown: a line of megabytes comes in hundreds of pieces.
      lines.push(this.#parts.length === 0 ? piece : this.#parts.join("") + piece);
      [this.#parts, this.#length] = [[], 0];
      start = end + 1;
    }
    if (start < text.length) {
      this.#parts.push(text.slice(start));
      this.#length += text.length - start;
    }
    if (this.#length > MAX_FRAME_CHARACTERS) throw new RangeError("the line is too long");
    return lines;
  }
}
