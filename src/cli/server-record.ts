/**
 * `FLASH_HOME/server.json`: how a running server is found again. The server writes it when it is
 * ready and removes it as its last act; what it says is believed only after the server at that URL
 * has confirmed it.
 */

import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";

export interface ServerRecord {
  pid: number;
  url: string;
  version: string;
  /** ISO 8601. */
  startedAt: string;
}

/** Undefined when there is none, or none that can be read. */
export async function readRecord(home: string): Promise<ServerRecord | undefined> {
  try {
    const value = JSON.parse(await readFile(recordFile(home), "utf8")) as Partial<ServerRecord>;
    const isWhole = Number.isInteger(value.pid) && typeof value.url === "string";
    return isWhole ? (value as ServerRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** Written whole or not at all, mode 0600. */
export async function writeRecord(home: string, record: ServerRecord): Promise<void> {
  const draft = path.join(home, `.server-${crypto.randomUUID()}.json`);
  await writeFile(draft, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, recordFile(home));
}

/** Removes the record of process `pid`; another's stays. */
export async function removeRecord(home: string, pid: number): Promise<void> {
  if ((await readRecord(home))?.pid === pid) await rm(recordFile(home), { force: true });
}

function recordFile(home: string): string {
  return path.join(home, "server.json");
}
