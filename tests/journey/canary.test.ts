/**
 * Canaries: a secret, keys and `.env` values are planted and made to sing (logged, thrown, dumped with the
 * environment, written while a process dies), and then looked for in every byte that is kept and every
 * document that is answered.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { ROOT, writeFiles } from "../support/temp.ts";
import { Sandbox, type Deployment } from "../support/flash.ts";
import { until } from "../support/until.ts";

const SECRET = 'canary-secret "quoted" 4f1c';
/** In source maps and bundles the words of the project itself may be, but not these. */
const DOTENV = "canary-dotenv-93ab";

const PROJECT = {
  "api.ts": `import { Endpoint, secret } from "runpod-flash";
const api = Endpoint({ name: "api", cpu: "cpu3c-1-2", env: { TOKEN: secret("TOKEN") } });
export const hold = api.get("/hold", () => ({ length: process.env.TOKEN?.length ?? 0 }));
export const sing = api.get("/sing", () => {
  console.log("token is", process.env.TOKEN);
  console.log(process.env);
  console.error(JSON.stringify({ token: process.env.TOKEN }));
  return { ok: true };
});
export const fall = api.get("/fall", () => {
  process.stderr.write("last words " + process.env.TOKEN + "\\n", () => process.exit(3));
  return new Promise(() => undefined);
});
`,
  "queue.ts": `import { Endpoint, secret } from "runpod-flash";
export const leak = Endpoint(
  { name: "leak", cpu: "cpu3c-1-2", retries: 0, env: { TOKEN: secret("TOKEN") } },
  (how: string) => {
    console.log("working with", process.env.TOKEN);
    if (how === "throw") throw new Error("refused: " + process.env.TOKEN, { cause: new Error(process.env.TOKEN) });
    process.stderr.write("dying with " + process.env.TOKEN + "\\n", () => process.exit(4));
    return new Promise(() => undefined);
  },
);
`,
  ".env": `CANARY=${DOTENV}\n`,
};

/** Every form in which a text may have been written. */
function formsOf(text: string): Buffer[] {
  const once = JSON.stringify(text).slice(1, -1);
  const forms = [text, once, JSON.stringify(once).slice(1, -1), encodeURIComponent(text)];
  return [...forms, Buffer.from(text).toString("base64").replace(/=+$/, "")].map((one) =>
    Buffer.from(one),
  );
}

/** Where one of the canaries is, among these texts by name. */
function found(canaries: readonly string[], texts: ReadonlyMap<string, Buffer>): string[] {
  const places: string[] = [];
  for (const [name, bytes] of texts) {
    for (const canary of canaries) {
      if (formsOf(canary).some((form) => bytes.includes(form))) places.push(`${name}: ${canary}`);
    }
  }
  return places;
}

/** The bytes of every file below a folder, archives unpacked. */
function bytesOf(folder: string, leaveOut: readonly string[] = []): Map<string, Buffer> {
  const texts = new Map<string, Buffer>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const file = path.join(folder, name);
    if (leaveOut.includes(name) || !lstatSync(file).isFile()) continue;
    const bytes = readFileSync(file);
    texts.set(file, name.endsWith(".gz") ? gunzipSync(bytes) : bytes);
  }
  return texts;
}

async function setSecret(sandbox: Sandbox, cwd: string): Promise<void> {
  const flash = path.join(ROOT, "bin", "flash.js");
  const child = spawn(process.execPath, [flash, "secrets", "set", "TOKEN"], {
    cwd,
    env: sandbox.env,
    stdio: ["pipe", "ignore", "inherit"],
  });
  child.stdin.end(SECRET);
  const [code] = await once(child, "close");
  assert.equal(code, 0);
}

/** Makes everything happen that could write a secret somewhere. */
async function sing(sandbox: Sandbox, deployment: Deployment, cwd: string): Promise<void> {
  const held = (await deployment.call("api", "GET /hold")).json;
  assert.deepEqual(held, { length: SECRET.length });
  await deployment.call("api", "GET /sing");
  await deployment.call("api", "GET /fall").catch(() => undefined);
  for (const how of ["throw", "exit"]) {
    const { json } = await deployment.call("leak", "POST /run", { input: { how } });
    const job = await deployment.finished("leak", (json as { id: string }).id);
    assert.equal(job.status, "FAILED", JSON.stringify(job));
    assert.match(job.error ?? "", /\[redacted\]/);
  }
  await until(async () => /dying with/.test((await sandbox.flash(cwd, "logs")).stdout), {
    what: "the last words in the log",
  });
}

/** Every document that a server answers with, and what the commands print. */
async function answersOf(
  sandbox: Sandbox,
  deployment: Deployment,
  cwd: string,
): Promise<Map<string, Buffer>> {
  const { app, environment } = deployment.document;
  const place = `app=${app}&environment=${environment}`;
  const paths = [
    ...["releases", "status", "secrets", "logs", "audit"].map((name) => `/api/v1/${name}?${place}`),
    ...[`endpoints?${place}&name=api`, `scaling?${place}&name=leak`].map((one) => `/api/v1/${one}`),
    "/api/v1/keys",
    "/api/v1/server",
    "/api/v1/openapi.json",
    "/api/v1/events",
    "/metrics",
    `/api/v1/builds?app=${app}`,
    `${new URL(deployment.endpoint("leak").url).pathname}/requests`,
    `${new URL(deployment.endpoint("leak").url).pathname}/health`,
  ];
  const texts = new Map<string, Buffer>();
  for (const one of paths) {
    const response = await sandbox.fetch(sandbox.url + one);
    assert.equal(response.status, 200, one);
    texts.set(one, Buffer.from(await response.arrayBuffer()));
  }
  const commands = [
    ["status", "--json"],
    ["logs"],
    ["logs", "--json"],
    ["jobs", "list", "leak", "--json"],
    ["secrets", "list", "--json"],
    ["keys", "list"],
    ["audit"],
  ];
  for (const words of commands) {
    const { stdout, stderr } = await sandbox.flash(cwd, ...words);
    texts.set(words.join(" "), Buffer.from(stdout + stderr));
  }
  return texts;
}

test("planted secrets, keys and .env values are in nothing that is kept, packed or shown", async (t) => {
  const sandbox = await Sandbox.open(t);
  const project = sandbox.project(PROJECT, "canaries");
  await setSecret(sandbox, project);
  const deployed = await sandbox.flash(project, "deploy", "--verbose");
  assert.equal(deployed.code, 0, deployed.stderr);
  const deployment = await sandbox.deploy(project);
  const made = await sandbox.flash(
    project,
    "keys",
    "create",
    "canary",
    "--verbs",
    "read",
    "--json",
  );
  const { key } = JSON.parse(made.stdout) as { key: string };
  for (const given of [key, `${key}x`, "canary-wrong-key-71"]) {
    await fetch(`${sandbox.url}/api/v1/server`, { headers: { authorization: `Bearer ${given}` } });
  }
  await sing(sandbox, deployment, project);
  const canaries = [SECRET, DOTENV, key, sandbox.key, "canary-wrong-key-71"];
  const answers = await answersOf(sandbox, deployment, project);
  answers.set("deploy --verbose", Buffer.from(deployed.stdout + deployed.stderr));
  await sandbox.stop();

  assert.deepEqual(found(canaries, answers), []);
  // The server key is in its own file, where the operator reads it; workers had keys of their own.
  const kept = bytesOf(sandbox.home, ["key"]);
  assert.ok([...kept.keys()].some((name) => name.endsWith("flash.db")));
  assert.deepEqual(found(canaries, kept), []);
  const packed = bytesOf(path.join(project, ".flash"));
  assert.ok([...packed.keys()].some((name) => name.endsWith("artifact.tar.gz")));
  assert.deepEqual(found(canaries, packed), []);
  const secrets = [...kept.values()].some((bytes) =>
    /\bflash[kw]?_[\w-]{43}/.test(bytes.toString("latin1")),
  );
  assert.equal(secrets, false, "no key of ours, whoever's it is");

  // A control: what is there is found.
  writeFiles(sandbox.home, { "logs/planted.ndjson": JSON.stringify({ message: SECRET }) });
  writeFileSync(path.join(project, ".flash", "planted"), Buffer.from(DOTENV).toString("base64"));
  const planted = [...bytesOf(sandbox.home, ["key"]), ...bytesOf(path.join(project, ".flash"))];
  assert.equal(found(canaries, new Map(planted)).length, 2);
});
