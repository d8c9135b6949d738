/** A reverse proxy as one would write it with undici: a pool, dispatched, streamed both ways. */

import http from "node:http";
import { Pool } from "undici";

const pool = new Pool(process.env["BACKEND"] ?? "", { connections: 64 });
const server = http.createServer((request, response) => {
  const { method = "GET", url = "/", headers } = request;
  pool
    .stream(
      { method: method as "GET", path: url, headers, body: request, opaque: response },
      ({ statusCode, headers: answer, opaque }) => {
        const out = opaque as http.ServerResponse;
        out.writeHead(statusCode, answer as http.OutgoingHttpHeaders);
        return out;
      },
    )
    .catch(() => response.destroy());
});
server.listen(Number(process.env["PORT"]), () => console.log("ready"));
process.on("SIGTERM", () => process.exit(0));
