/** The plain Node script: what a user would write by hand, without validation. Listens on PORT or SOCKET. */

import http from "node:http";

const server = http.createServer((request, response) => {
  if (request.url !== "/api/process") {
    response.writeHead(404).end();
    return;
  }
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    const { x, y } = JSON.parse(Buffer.concat(parts).toString()) as { x: number; y: number };
    const body = JSON.stringify({ result: x + y });
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.listen(process.env["SOCKET"] ?? Number(process.env["PORT"]), () => console.log("ready"));
process.on("SIGTERM", () => process.exit(0));
