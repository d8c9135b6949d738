/**
 * Reads a job's stream and writes what it is told into a file, a line an event, at once: made to be
 * killed, and to go on where the file ends.
 *
 *   node fixture-stream-reader.ts <url> <key> <file>
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { after } from "node:test";
import { EventReader, type StreamEvent } from "./event-reader.ts";

const [url = "", key = "", file = ""] = process.argv.slice(2);
const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
const events = lines.map((line) => JSON.parse(line) as StreamEvent);
const lastEventId = events.findLast(({ id }) => id !== undefined)?.id;
await EventReader.open({ after }, url, {
  key,
  lastEventId,
  onEvent: (event) => appendFileSync(file, `${JSON.stringify(event)}\n`),
});
