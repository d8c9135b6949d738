/** A rehearsal's requests: over the request link, as the server sends them, and one over HTTP. */

import http from "node:http";
import net from "node:net";
import { once } from "node:events";
import { FRAME, LB_LINK_GREETING, linkPathOf } from "../../contract/lb-link.ts";
import { deferred } from "../../kit/abort.ts";
import { FrameLink } from "../../kit/frame-link.ts";
import { silentLog } from "../../kit/log.ts";
import { routesOf } from "../program.ts";
import type { Doors } from "../routes/doors.ts";
import { RouteServer } from "../routes/route-server.ts";
import { INPUT, ROUNDS, ROUTE, type Rehearsed } from "./rehearsed.ts";

const BODY = Buffer.from(JSON.stringify(INPUT));
const HEADERS = {
  host: "worker",
  "content-type": "application/json",
  "content-length": String(BODY.length),
};

export async function rehearseRequests(
  doors: Doors,
  socketPath: string,
  { served, declarations }: Rehearsed,
): Promise<void> {
  const server = new RouteServer({
    endpoint: served.endpoint,
    settings: { listen: { socketPath }, healthPort: undefined, healthPath: "/ping" },
    sendsStacks: false,
    style: served.style,
    log: silentLog,
    doors,
  });
  await server.listen();
  server.ready(routesOf(served, declarations));
  await askOverLink(linkPathOf(socketPath));
  await askOverHttp(socketPath);
}

async function askOverLink(linkPath: string): Promise<void> {
  const socket = net.connect(linkPath);
  const [greeting] = (await once(socket, "data")) as [Buffer];
  if (greeting.toString("latin1") !== LB_LINK_GREETING) throw new Error("no greeting came");
  let answer = deferred<void>();
  const link = new FrameLink(socket, {
    onFrame: ({ isLast }) => {
      if (isLast) answer.resolve();
    },
    onClose: (cause) => answer.reject(cause),
  });
  const head = ["POST", ROUTE, ...Object.entries(HEADERS).flat()];
  for (let stream = 1; stream <= ROUNDS; stream++) {
    answer = deferred<void>();
    link.sendHead(stream, head, false);
    link.send({ type: FRAME.body, stream, payload: BODY, isLast: true });
    await answer.promise;
  }
  link.close();
}

async function askOverHttp(socketPath: string): Promise<void> {
  const request = http.request({
    socketPath,
    method: "POST",
    path: ROUTE,
    headers: HEADERS,
    agent: false,
  });
  request.end(BODY);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.resume();
  await once(response, "end");
}
