/**
 * The server's own log, on stderr: lines for people in a terminal, JSON otherwise. In the background
 * stderr is a file, which is kept within a bound while the server runs: when it is full, what is in it
 * is put aside and it begins anew. The file itself stays the same, because it is open elsewhere.
 */

import { copyFileSync, fstatSync, ftruncateSync, statSync } from "node:fs";
import { isLogLevel, type LogLevel } from "../contract/logs.ts";
import { createLog, type Log } from "../kit/log.ts";
import { serverLogFile } from "./home.ts";

/** Then it is put aside, bytes. */
const MAX_BYTES = 10_000_000;
const STDERR = 2;

/** `home`: the server whose log file stderr may be. */
export function serverLog(home: string, env: NodeJS.ProcessEnv = process.env): Log {
  const rotate = rotation(serverLogFile(home), { fd: STDERR, maxBytes: MAX_BYTES });
  return createLog({
    format: process.stderr.isTTY ? "text" : "json",
    level: levelOf(env["LOG_LEVEL"]),
    write: (line) => {
      process.stderr.write(line);
      rotate(line.length);
    },
  });
}

/**
 * Tells of so many more bytes in the file. Looks at it now and then: others write to stderr as well.
 * Never throws: a log that cannot be put aside goes on growing.
 */
export function rotation(
  file: string,
  { fd, maxBytes }: { fd: number; maxBytes: number },
): (bytes: number) => void {
  let unseen = 0;
  return (bytes) => {
    unseen += bytes;
    if (unseen < maxBytes / 100) return;
    unseen = 0;
    try {
      const open = fstatSync(fd);
      if (!open.isFile() || open.size < maxBytes || open.ino !== statSync(file).ino) return;
      copyFileSync(file, `${file}.1`);
      // It is open for appending, so that the next line stands at the beginning.
      ftruncateSync(fd);
    } catch {
      // See above.
    }
  };
}

/** Another service's LOG_LEVEL may say what is no level here. */
function levelOf(text: string | undefined): LogLevel {
  const level = text?.toLowerCase();
  return isLogLevel(level) ? level : "info";
}
