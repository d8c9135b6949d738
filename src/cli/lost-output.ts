/** What becomes of a command when what it writes to cannot be written any more. */

let outlivesLog = false;

/** `flash logs -f | head` is no failure. A full disk is one, and not a mistake of ours. */
export function endWithOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      if (stream === process.stderr && outlivesLog) return;
      // stderr may be what cannot be written.
      if (stream === process.stdout) {
        process.stderr.write(`✗ The output cannot be written: ${error.message}\n`);
      }
      process.exit(1);
    });
  }
}

/** For a server: a full disk takes its log, and must not take the jobs that still run. */
export function outliveLog(): void {
  outlivesLog = true;
}
