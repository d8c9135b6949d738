// A small worker of the tests' own, in plain JavaScript: it serves routes on FLASH_SOCKET or takes jobs,
// and misbehaves when told to. It shows that the agreement between server and worker is the environment
// and HTTP, nothing of ours.
import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const { env } = process;
const kept = [];
process.on("disconnect", () => {
  if (env.IGNORE_DISCONNECT === undefined) process.exit(1);
});
if (env.START_CRASH !== undefined) {
  console.error(env.START_CRASH);
  process.exit(1);
}
if (env.CHILD !== undefined) {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  console.log(`child ${child.pid}`);
}
if (env.IGNORE_SIGTERM !== undefined) process.on("SIGTERM", () => undefined);
if (env.FLASH_ENDPOINT_TYPE === "lb") serveRoutes();
else await takeJobs();

function serveRoutes() {
  let health = 204;
  let aborted = 0;
  const startMs = Number(env.START_MS ?? 0);
  setTimeout(() => {
    health = 200;
    if (env.SAY_READY !== undefined) process.send({ type: "ready" });
  }, startMs);
  const server = http.createServer(async (request, response) => {
    const [pathname, search] = request.url.split("?");
    const searchParams = new URLSearchParams(search);
    if (pathname === (env.HEALTH_CHECK_PATH ?? "/ping")) {
      response.writeHead(health).end();
    } else if (pathname === "/env") {
      json(response, env);
    } else if (pathname === "/echo") {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const { method, url, headers, rawTrailers } = request;
      json(response, { method, url, headers, rawTrailers, body: Buffer.concat(chunks).toString() });
    } else if (pathname === "/digest") {
      const hash = createHash("sha256");
      let bytes = 0;
      for await (const chunk of request) {
        hash.update(chunk);
        bytes += chunk.length;
      }
      json(response, { bytes, digest: hash.digest("hex") });
    } else if (pathname === "/slow") {
      request.resume();
      response.on("close", () => {
        if (!response.writableFinished) aborted += 1;
      });
      await sleep(Number(searchParams.get("ms")));
      json(response, { slept: true });
    } else if (pathname === "/gate") {
      while (!existsSync(searchParams.get("file"))) await sleep(20);
      json(response, {});
    } else if (pathname === "/aborted") {
      json(response, { aborted });
    } else if (pathname === "/sick") {
      health = Number(searchParams.get("status") ?? 500);
      json(response, {});
    } else if (pathname === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      // First: before somebody listens the signal ends the process.
      process.once("SIGUSR2", () => response.end("data: 2\n\n"));
      response.write("data: 1\n\n");
      request.on("close", () => response.end());
    } else if (pathname === "/trailers") {
      response.writeHead(200, { trailer: "x-sum", "x-runpod-worker-id": "forged" });
      response.write("body");
      response.addTrailers({ "x-sum": "4" });
      response.end();
    } else if (pathname === "/early") {
      response.writeEarlyHints({ link: "</style.css>; rel=preload" });
      json(response, {});
    } else if (pathname === "/odd-hints") {
      response.socket.write("HTTP/1.1 103 Early Hints\r\nLink: not a link\r\n\r\n");
      json(response, {});
    } else if (pathname === "/half") {
      response.writeHead(200, { "content-length": 100 });
      response.write("half");
      setImmediate(() => process.kill(process.pid, "SIGKILL"));
    } else if (pathname === "/die") {
      console.error("told to die");
      process.kill(process.pid, "SIGKILL");
    } else if (pathname === "/big") {
      response.writeHead(200);
      const chunk = Buffer.alloc(64 * 1024, 97);
      let left = Number(searchParams.get("bytes"));
      while (left > 0 && !response.destroyed) {
        if (!response.write(chunk.subarray(0, left))) {
          await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
        }
        left -= chunk.length;
      }
      response.end();
    } else if (pathname === "/print") {
      console.log(searchParams.get("text"));
      json(response, {});
    } else if (pathname === "/flood") {
      for (let line = 0; line < 200_000; line++) console.log(`line ${line} ${"x".repeat(100)}`);
      json(response, {});
    } else if (pathname === "/leak") {
      kept.push(Buffer.alloc(Number(searchParams.get("mb")) * 1024 * 1024, 1));
      if (searchParams.get("answers") !== "never") json(response, { pid: process.pid });
    } else if (pathname === "/limits") {
      const open = readFileSync("/proc/self/limits", "utf8").match(/open files +(\d+) +(\d+)/);
      json(response, { soft: Number(open[1]), hard: Number(open[2]) });
    } else if (pathname === "/fork") {
      const children = Array.from({ length: Number(searchParams.get("count")) }, (_, index) =>
        // Every other one in a session of its own, out of the reach of the worker's process group.
        spawn("sh", ["-c", "trap '' TERM; sleep 600"], {
          stdio: "ignore",
          detached: index % 2 === 1,
        }),
      );
      json(response, { pids: children.map(({ pid }) => pid) });
    } else if (pathname === "/once") {
      request.resume();
      appendFileSync(env.EXECUTIONS, `${searchParams.get("id")}\n`);
      json(response, { pid: process.pid });
    } else if (pathname === "/204") {
      response.writeHead(204).end();
    } else {
      json(response, {
        pid: process.pid,
        url: request.url,
        release: env.FLASH_RELEASE,
        version: env.VERSION,
      });
    }
  });
  server.on("upgrade", (request, socket) => {
    socket.on("error", () => socket.destroy());
    if (request.url === "/refused") {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
      return;
    }
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    socket.pipe(socket);
  });
  server.keepAliveTimeout = 600_000;
  server.listen(env.FLASH_SOCKET);
  if (env.LINK !== undefined) serveLink();
  process.once("SIGTERM", () => {
    if (env.IGNORE_SIGTERM !== undefined) return;
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

// A request link that answers with the frames that the query asks for, whatever the rules say.
function serveLink() {
  const server = net.createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("flash-lb/1\n");
    let pending = Buffer.alloc(0);
    const seen = new Map();
    socket.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 9 && pending.length >= 9 + pending.readUInt32BE()) {
        const length = pending.readUInt32BE();
        const stream = pending.readUInt32BE(4);
        const payload = pending.toString("latin1", 9, 9 + length);
        seen.set(stream, (seen.get(stream) ?? "") + payload);
        // With the request's last frame.
        if ((pending[8] & 128) !== 0) answer(socket, stream, seen.get(stream));
        pending = pending.subarray(9 + length);
      }
    });
  });
  server.listen(`${env.FLASH_SOCKET}.lb`);
  process.once("SIGTERM", () => server.close());
}

function answer(socket, stream, request) {
  const query = new URLSearchParams(request.split("\0")[1].split("?")[1]);
  for (const text of query.getAll("frame")) {
    const [type, payload = ""] = text.split(":");
    const bytes = Buffer.from(
      payload === "seen" ? request : payload.replaceAll("|", "\0"),
      "latin1",
    );
    const header = Buffer.alloc(9);
    header.writeUInt32BE(bytes.length);
    header.writeUInt32BE(stream, 4);
    header[8] = Number(type);
    socket.write(Buffer.concat([header, bytes]));
  }
  if (query.has("die")) setImmediate(() => process.kill(process.pid, "SIGKILL"));
}

function json(response, value) {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

async function takeJobs() {
  const headers = { authorization: env.RUNPOD_AI_API_KEY };
  const ending = new AbortController();
  process.once("SIGTERM", () => ending.abort());
  let current;
  if (env.RUNPOD_WEBHOOK_PING !== undefined) {
    setInterval(() => {
      const ids = current === undefined ? "" : `&job_id=${current}`;
      fetch(`${env.RUNPOD_WEBHOOK_PING}${ids}`, { headers }).catch(() => undefined);
    }, 1000).unref();
  }
  while (!ending.signal.aborted) {
    let answer;
    try {
      answer = await fetch(`${env.RUNPOD_WEBHOOK_GET_JOB}&job_in_progress=0`, { headers });
    } catch {
      process.exit(1);
    }
    if (answer.status !== 200) continue;
    const job = await answer.json();
    current = job.id;
    const body = await run(job);
    const url = env.RUNPOD_WEBHOOK_POST_OUTPUT.replace("$ID", job.id);
    await fetch(`${url}&isStream=false`, { method: "POST", headers, body: JSON.stringify(body) });
    current = undefined;
  }
  process.exit(0);
}

/** True the first time that any worker asks about this file. */
function isFirst(file) {
  if (file === undefined || existsSync(file)) return false;
  writeFileSync(file, "died");
  return true;
}

async function run({ input }) {
  if (input.print !== undefined) console.log(input.print);
  if (input.exit !== undefined) process.exit(input.exit);
  if (isFirst(input.dieOnce)) {
    process.kill(process.pid, "SIGKILL");
    await sleep(10_000);
  }
  if (isFirst(input.hangOnce)) await sleep(600_000);
  if (input.sleepMs !== undefined) await sleep(input.sleepMs);
  while (input.gate !== undefined && !existsSync(input.gate)) await sleep(20);
  if (input.error !== undefined) return { error: input.error };
  const end = input.stopPod === undefined ? {} : { stopPod: true };
  return {
    ...end,
    output: { pid: process.pid, release: env.FLASH_RELEASE, version: env.VERSION, input },
  };
}
