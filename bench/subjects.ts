/** The subjects of the suites: peers and Flash, each started on loopback and stopped by process id. */

import { spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { freePort, startProgram, stopProgram } from "./harness.ts";

export const here = import.meta.dirname;
const root = path.dirname(here);

export interface Served {
  name: string;
  url: string;
  /** Path of the measured route on this subject. */
  path: string;
  headers: Record<string, string>;
  /** Processes that answer, a back end among them. */
  pids: readonly number[];
  close(): Promise<void>;
}

/** A peer written in TypeScript under `peers/`, on a free port. */
export async function nodePeer(
  name: string,
  file: string,
  env: Record<string, string> = {},
): Promise<Served> {
  const port = await freePort();
  const child = await startProgram(process.execPath, [path.join(here, "peers", file)], {
    env: { ...env, PORT: String(port) },
    ready: "ready",
  });
  return served(name, port, [child]);
}

export async function fastApi(): Promise<Served> {
  const port = await freePort();
  const child = await startProgram(
    path.join(here, ".venv", "bin", "python"),
    [
      "-c",
      `import uvicorn; print("ready", flush=True); uvicorn.run("app:app", port=${port}, access_log=False, log_level="error")`,
    ],
    { cwd: path.join(here, "peers"), ready: "ready" },
  );
  await answers(`http://127.0.0.1:${port}/docs`);
  return served("fastapi on uvicorn", port, [child]);
}

export async function nginxHop(backend: Served): Promise<Served> {
  const port = await freePort();
  const folder = mkdtempSync(path.join(os.tmpdir(), "flash-bench-nginx-"));
  writeFileSync(
    path.join(folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  keepalive_requests 1000000;
  upstream back { server ${new URL(backend.url).host}; keepalive 64; keepalive_requests 1000000; }
  server { listen 127.0.0.1:${port};
    location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}`,
  );
  const child = await startProgram(
    "sh",
    ["-c", `echo ready; exec nginx -c ${folder}/nginx.conf -e ${folder}/error.log`],
    {
      ready: "ready",
    },
  );
  const subject = served("nginx → node:http", port, [child]);
  await answers(subject.url);
  return {
    ...subject,
    close: async () => {
      await subject.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface FlashApp {
  home: string;
  key: string;
  url: string;
  /** Base URLs by endpoint name. */
  endpoints: Record<string, string>;
  server: ChildProcess;
  /** Kills the server and starts it again. Returns how long it took until it served, ms. */
  restart(): Promise<number>;
  /** Runs the command line against this server. */
  flash(args: readonly string[]): string;
  close(): Promise<void>;
}

/** A Flash server of its own with one project deployed: `files` by name. */
export async function flashApp(
  files: Record<string, string>,
  env: Record<string, string> = {},
): Promise<FlashApp> {
  const home = mkdtempSync(path.join(os.tmpdir(), "flash-bench-"));
  const project = path.join(home, "project");
  mkdirSync(project);
  writeFileSync(
    path.join(project, "package.json"),
    '{"name":"bench","private":true,"type":"module"}\n',
  );
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(project, name), text);
  const port = await freePort();
  const all = { ...env, FLASH_HOME: path.join(home, "flash"), FLASH_PORT: String(port) };
  const bin = path.join(root, "bin", "flash.js");
  const flash = (args: readonly string[]): string => {
    const run = spawnSync(process.execPath, [bin, ...args], {
      cwd: project,
      env: { ...process.env, ...all },
      encoding: "utf8",
    });
    if (run.status !== 0) throw new Error(`flash ${args.join(" ")}: ${run.stderr}`);
    return run.stdout;
  };
  const url = `http://127.0.0.1:${port}`;
  const start = async (): Promise<ChildProcess> => {
    const child = await startProgram(
      "sh",
      ["-c", `echo ready; exec "${process.execPath}" "${bin}" server start --foreground`],
      { cwd: project, env: all, ready: "ready" },
    );
    await answers(`${url}/readyz`, ({ ok }) => ok);
    return child;
  };
  let server = await start();
  const deployed = JSON.parse(flash(["deploy", "--json"])) as {
    endpoints: { name: string; url: string }[];
  };
  return {
    home,
    key: readFileSync(path.join(home, "flash", "key"), "utf8").trim(),
    url,
    endpoints: Object.fromEntries(
      deployed.endpoints.map((endpoint) => [endpoint.name, endpoint.url]),
    ),
    get server() {
      return server;
    },
    restart: async () => {
      await stopProgram(server, "SIGKILL");
      const startedAt = performance.now();
      server = await start();
      return performance.now() - startedAt;
    },
    flash,
    close: async () => {
      await stopProgram(server);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Waits until a URL answers; anything, unless told otherwise. */
export async function answers(
  url: string,
  isGood: (answer: Response) => boolean = () => true,
): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    try {
      const answer = await fetch(url);
      await answer.arrayBuffer();
      if (isGood(answer)) return;
    } catch {
      // Not there yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${url} does not answer`);
}

function served(name: string, port: number, children: readonly ChildProcess[]): Served {
  return {
    name,
    url: `http://127.0.0.1:${port}`,
    path: "/api/process",
    headers: {},
    pids: children.map(({ pid = 0 }) => pid),
    close: async () => {
      for (const child of children) await stopProgram(child);
    },
  };
}
