/** A rehearsal's jobs: over a job link to a server of the standby's own, which gives one after the other. */

import http from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import {
  LINK_PROTOCOL,
  LineReader,
  ackFrame,
  drainedFrame,
  jobFrame,
  readWorkerFrame,
} from "../../contract/job-link.ts";
import { deferred } from "../../kit/abort.ts";
import { silentLog } from "../../kit/log.ts";
import { LinkChannel } from "../queue/link.ts";
import { QueueLoop } from "../queue/queue-loop.ts";
import { createTarget } from "../queue/target.ts";
import { INPUT, ROUNDS, type Rehearsed } from "./rehearsed.ts";

export async function rehearseJobs({ served, declarations }: Rehearsed): Promise<void> {
  const over = deferred<void>();
  const server = http.createServer();
  server.on("upgrade", (_, socket) => giveJobs(socket, over.resolve));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const loop = new QueueLoop({
    channel: new LinkChannel({
      url: `http://127.0.0.1:${port}/rehearsal`,
      key: "",
      userAgent: "rehearsal",
      log: silentLog,
    }),
    heartbeat: undefined,
    maxConcurrency: 1,
    job: {
      target: await createTarget(served, declarations),
      endpoint: served.endpoint.name,
      executionTimeoutMs: 0,
      workerId: "rehearsal",
      version: served.version,
      style: served.style,
    },
    log: silentLog,
    onStuck: () => undefined,
  });
  loop.start();
  await over.promise;
  await loop.drain();
  server.close();
}

/** Gives a job, waits for its result, gives the next. */
function giveJobs(socket: Duplex, onOver: () => void): void {
  const reader = new LineReader();
  let given = 0;
  const give = (): void => {
    given += 1;
    const message = JSON.stringify({ id: `rehearsal-${given}`, input: INPUT, attempt: 1 });
    socket.write(jobFrame(message));
  };
  socket.on("error", onOver);
  socket.on("data", (bytes: Buffer) => {
    for (const line of reader.read(bytes.toString())) {
      const frame = readWorkerFrame(line);
      if (frame?.kind === "hello") give();
      else if (frame?.kind === "drain") socket.write(drainedFrame());
      else if (frame?.kind === "post") {
        socket.write(ackFrame(frame.jobId));
        if (given < ROUNDS) give();
        else onOver();
      }
    }
  });
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${LINK_PROTOCOL}\r\n\r\n`,
  );
}
