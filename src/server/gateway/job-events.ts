/**
 * A job's stream as server-sent events: `GET …/stream/{job}` with `Accept: text/event-stream`. Unlike
 * the platform's form, which gives every chunk once, each reader has its own place: several can read,
 * and one that lost its connection goes on with `Last-Event-ID`.
 *
 *   retry: {ms}                 how soon to come back after a broken connection
 *   id: {attempt}.{position}    data: the chunk as JSON
 *   event: restart              the attempt failed: what was read so far is void, another one begins
 *   event: end                  data: the final job document; nothing follows
 */

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { jobDocumentText } from "../../contract/job.ts";
import { isFinal } from "../../contract/states.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { StreamPlace } from "../jobs/requests.ts";
import { clientSignal } from "./http.ts";

/** A comment this often keeps proxies from taking a quiet stream for a dead one, ms. */
const KEEP_ALIVE_MS = 15_000;
/** A reader that has lost its connection comes back after this, ms. */
const RETRY_MS = 1000;

export function wantsEvents({ headers }: IncomingMessage): boolean {
  return headers.accept?.includes("text/event-stream") === true;
}

/** Answers until the job has ended, the client is gone or the server closes. The job must exist. */
export async function sendJobEvents(
  jobs: Jobs,
  id: string,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const signal = clientSignal(response);
  response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    // Understood by nginx: events must not wait in a buffer.
    "x-accel-buffering": "no",
  });
  response.write(`retry: ${RETRY_MS}\n\n`);
  let place = placeOf(request.headers["last-event-id"]);
  while (!signal.aborted) {
    const read = await jobs.read(id, place, { waitMs: KEEP_ALIVE_MS, signal });
    // Without an end: the client comes back with its place. So it does when its job has been dropped,
    // and learns of it then.
    if (read === undefined || signal.aborted) break;
    const { job, chunks } = read;
    const isRestart = place.position > 0 && place.attempt !== job.attempt;
    if (place.attempt !== job.attempt) place = { attempt: job.attempt, position: 0 };
    const events = chunks.map(({ position, chunk }) => {
      place = { attempt: job.attempt, position };
      return `id: ${job.attempt}.${position}\n${dataLines(chunk)}\n`;
    });
    if (isRestart) events.unshift(`event: restart\n${dataLines(`{"attempt":${job.attempt}}`)}\n`);
    const isOver = chunks.length === 0 && isFinal(job.state);
    if (isOver) events.push(`event: end\n${dataLines(jobDocumentText(job))}\n`);
    await write(response, events.length === 0 ? ":\n\n" : events.join(""));
    if (isOver) break;
  }
  response.end();
}

/** Whatever is no place of ours is the beginning. */
function placeOf(lastEventId: string | string[] | undefined): StreamPlace {
  const match = /^(\d{1,9})\.(\d{1,15})$/.exec(String(lastEventId ?? ""));
  return { attempt: Number(match?.[1] ?? 0), position: Number(match?.[2] ?? 0) };
}

/** A worker may have written its JSON on several lines. */
function dataLines(text: string): string {
  const lines = text.split(/\r\n|\r|\n/);
  return `${lines.map((line) => `data: ${line}`).join("\n")}\n`;
}

async function write(response: ServerResponse, text: string): Promise<void> {
  if (response.destroyed || response.write(text)) return;
  await Promise.race([once(response, "drain"), once(response, "close")]);
}
