/** The dev server's face, in front of an engine that shows what reaches it. */

import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import type { EndpointManifest, Manifest } from "../../src/contract/manifest.ts";
import { resolveOptions } from "../../src/contract/options.ts";
import { Front, type FrontEngine } from "../../src/dev/front.ts";
import type { Served } from "../../src/dev/served.ts";

function endpoint(name: string, kind: "qb" | "lb"): EndpointManifest {
  const signature = { parameters: [], streams: false, checked: true };
  return {
    name,
    kind,
    form: kind === "qb" ? "function" : "routes",
    live: false,
    resource: "Endpoint",
    options: resolveOptions({ name }, kind, name),
    functions: [
      kind === "qb"
        ? { name: "work", ...signature }
        : { name: "list", route: { method: "GET", path: "/users" }, ...signature },
    ],
    files: [],
    calls: [],
    fingerprint: "",
    packages: {},
  };
}

const MANIFEST: Manifest = {
  version: 1,
  app: "demo",
  builtWith: "0",
  endpoints: [endpoint("queue", "qb"), endpoint("api", "lb"), endpoint("docs", "lb")],
  fingerprint: "",
};

const SERVED: Served = {
  manifest: MANIFEST,
  digest: "",
  ids: new Map([
    ["queue", "q1"],
    ["api", "a1"],
    ["docs", "d1"],
  ]),
};

/** Answers with what it was asked: URL, key and method. */
class EchoEngine implements FrontEngine {
  readonly live = undefined;
  served: Served | undefined = SERVED;
  problem: string | undefined;
  settled = Promise.resolve();
  readonly key = "secret";

  handle(request: IncomingMessage, response: ServerResponse): void {
    const { url, method, headers } = request;
    const environment = headers["x-flash-environment"];
    const { authorization = null, host } = headers;
    response.end(JSON.stringify({ url, method, authorization, environment, host }));
  }

  handleUpgrade(request: IncomingMessage, socket: { end: (text: string) => void }): void {
    socket.end(`HTTP/1.1 101 Switching Protocols\r\nx-url: ${request.url ?? ""}\r\n\r\n`);
  }
}

async function open(
  t: TestContext,
  host = "127.0.0.1",
): Promise<{ front: Front; engine: EchoEngine }> {
  const engine = new EchoEngine();
  const front = await Front.listen(engine, { host, port: 0, strictPort: true });
  t.after(() => front.end());
  return { front, engine };
}

async function echo(url: string, init?: RequestInit): Promise<Record<string, unknown>> {
  return (await (await fetch(url, init)).json()) as Record<string, unknown>;
}

test("names become the engine's paths, with its key and the query kept", async (t) => {
  const { front } = await open(t);
  const cases: [string, string][] = [
    ["/queue/run", "/v2/q1/run"],
    ["/queue/status/abc?wait=1", "/v2/q1/status/abc?wait=1"],
    ["/queue/stream/abc", "/v2/q1/stream/abc"],
    ["/api/users?q=a%20b&q=c", "/lb/a1/users?q=a%20b&q=c"],
    ["/api/users/a%2Fb", "/lb/a1/users/a%2Fb"],
    ["/api", "/lb/a1"],
    ["/api/", "/lb/a1/"],
    ["/docs/users", "/lb/d1/users"],
  ];
  for (const [asked, reached] of cases) {
    const seen = await echo(front.url + asked);
    assert.deepEqual([seen.url, seen.authorization], [reached, "Bearer secret"], asked);
  }
});

test("addresses of a deployment work unchanged, in the one environment there is", async (t) => {
  const { front } = await open(t);
  const headers = {
    "x-flash-app": "demo",
    "x-flash-environment": "production",
    "x-flash-endpoint": "queue",
  };
  const description = "/api/v1/endpoints?app=demo&environment=production&name=queue";
  const cases: [string, string][] = [
    ["/v2/q1/run", "/v2/q1/run"],
    ["/v2/flash/runsync?wait=5000", "/v2/flash/runsync?wait=5000"],
    ["/lb/a1/users/a%2Fb?q=1", "/lb/a1/users/a%2Fb?q=1"],
    ["/lb/flash/users", "/lb/flash/users"],
    ["/v2/unknown/run", "/v2/unknown/run"],
    [description, description.replace("production", "dev")],
    // The project has an endpoint called 'api', whose paths are its own.
    ["/api/v1/users", "/lb/a1/v1/users"],
    ["/api/v1/endpoints", "/lb/a1/v1/endpoints"],
  ];
  for (const [asked, reached] of cases) {
    const seen = await echo(front.url + asked, { headers });
    assert.deepEqual([seen.url, seen.authorization], [reached, "Bearer secret"], asked);
    if (/^\/(v2|lb)/.test(asked)) assert.equal(seen.environment, "dev", asked);
  }
});

test("what changes a deployment is refused: a dev server deploys what is saved", async (t) => {
  const { front, engine } = await open(t);
  engine.served = {
    manifest: { ...MANIFEST, endpoints: [endpoint("queue", "qb")] },
    digest: "",
    ids: new Map([["queue", "q1"]]),
  };
  const answer = await fetch(`${front.url}/api/v1/deployments`, { method: "POST", body: "{}" });
  assert.equal(answer.status, 403);
  assert.match(await answer.text(), /flash run/);
  const seen = await echo(`${front.url}/api/v1/status?app=demo&environment=production`);
  assert.equal(seen.url, "/api/v1/status?app=demo&environment=dev");
});

test("the API description names the server as its reader does", async (t) => {
  const { front } = await open(t);
  for (const host of ["127.0.0.1", "localhost"]) {
    const url = `http://${host}:${front.port}`;
    const api = (await echo(`${url}/openapi.json`)) as { servers?: unknown; security?: unknown };
    assert.deepEqual(api.servers, [{ url }]);
    assert.equal(api.security, undefined, "no key is needed here");
  }
});

test("a key that the client sends is replaced, so that an old one does no harm", async (t) => {
  const { front } = await open(t);
  const seen = await echo(`${front.url}/queue/run`, {
    method: "POST",
    headers: { authorization: "Bearer stale" },
  });
  assert.deepEqual([seen.method, seen.authorization], ["POST", "Bearer secret"]);
});

test("its own paths win only for reading", async (t) => {
  const { front } = await open(t);
  assert.equal((await echo(front.url)).message, "Flash Dev Server");
  assert.deepEqual(await echo(`${front.url}/ping`), { status: "healthy" });
  const posted = await fetch(`${front.url}/ping`, { method: "POST" });
  assert.equal(posted.status, 404);
});

test("an unknown endpoint is a problem that lists the known ones", async (t) => {
  const { front } = await open(t);
  const answer = await fetch(`${front.url}/quue/run`);
  assert.equal(answer.status, 404);
  const problem = (await answer.json()) as { code: string; hint: string };
  assert.equal(problem.code, "ENDPOINT_NOT_FOUND");
  assert.match(problem.hint, /\/queue, \/api/);
});

test("before the first good build everything says what is wrong", async (t) => {
  const { front, engine } = await open(t);
  engine.served = undefined;
  engine.problem = "error: a.ts:1 is broken";
  const answer = await fetch(`${front.url}/queue/run`);
  assert.equal(answer.status, 503);
  assert.match(await answer.text(), /a\.ts:1 is broken/);
  assert.equal((await echo(front.url)).status, "build-failed");
});

test("a request waits for the first build", async (t) => {
  const { front, engine } = await open(t);
  const first = Promise.withResolvers<void>();
  engine.served = undefined;
  engine.settled = first.promise;
  const asked = echo(`${front.url}/queue/health`);
  assert.deepEqual(await echo(`${front.url}/ping`), { status: "healthy" }, "health does not wait");
  engine.served = SERVED;
  first.resolve();
  assert.equal((await asked).url, "/v2/q1/health");
});

/** A request with a Host of our choice, which fetch does not allow. */
async function withHost(front: Front, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest(`${front.url}/api/users`, { headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .on("error", reject)
      .end();
  });
}

test("foreign hosts and foreign pages are refused, local ones are not", async (t) => {
  const { front } = await open(t);
  const { port } = front;
  for (const host of ["localhost", `localhost:${port}`, "127.0.0.1", "api.localhost", "[::1]"]) {
    assert.equal(await withHost(front, host), 200, host);
  }
  for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]) {
    assert.equal(await withHost(front, host), 403, host);
  }
  for (const origin of ["https://evil.example", "null", "http://localhost.evil.example"]) {
    const answer = await fetch(`${front.url}/api/users`, { headers: { origin } });
    assert.equal(answer.status, 403, origin);
  }
  const page = await fetch(`${front.url}/api/users`, {
    headers: { origin: "http://localhost:5173" },
  });
  assert.equal(page.status, 200);
});

test("local pages may read all answers, refusals too, whatever has written them", async (t) => {
  const { front } = await open(t);
  const origin = "http://localhost:5173";
  const paths = ["/api/users", "/queue/run", "/", "/openapi.json", "/nothing", "/v2/flash/run"];
  for (const path of paths) {
    const preflight = await fetch(front.url + path, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
      },
    });
    const { headers } = preflight;
    assert.equal(preflight.status, 204, path);
    assert.equal(headers.get("access-control-allow-origin"), origin, path);
    assert.equal(headers.get("access-control-allow-headers"), "content-type", path);
    assert.match(headers.get("access-control-allow-methods") ?? "", /POST/, path);
    const answer = await fetch(front.url + path, { headers: { origin } });
    assert.equal(answer.headers.get("access-control-allow-origin"), origin, path);
    assert.equal(answer.headers.get("vary"), "Origin", path);
    const foreign = { origin: "https://evil.example", "access-control-request-method": "POST" };
    for (const method of ["OPTIONS", "GET"]) {
      const refused = await fetch(front.url + path, { method, headers: foreign });
      assert.equal(refused.status, 403, path);
      assert.equal(refused.headers.get("access-control-allow-origin"), null, path);
    }
  }
});

test("what asks without being a page of another port is answered as ever", async (t) => {
  const { front } = await open(t);
  const asked = await fetch(`${front.url}/api/users`, { method: "OPTIONS" });
  assert.equal(((await asked.json()) as { url: string }).url, "/lb/a1/users", "the function's own");
  assert.equal(asked.headers.get("access-control-allow-origin"), null);
});

test("images and scripts of foreign pages are refused, links to follow are not", async (t) => {
  const { front } = await open(t);
  const get = async (site: string, mode: string): Promise<number> => {
    const headers = { "sec-fetch-site": site, "sec-fetch-mode": mode };
    return await new Promise((resolve, reject) => {
      const request = httpRequest(`${front.url}/api/users`, { headers }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on("error", reject).end();
    });
  };
  assert.equal(await get("cross-site", "no-cors"), 403);
  assert.equal(await get("cross-site", "navigate"), 200);
  assert.equal(await get("same-origin", "cors"), 200);
  assert.equal(await get("none", "navigate"), 200);
});

test("on another host than loopback no key is added", async (t) => {
  const { front } = await open(t, "0.0.0.0");
  const url = `http://127.0.0.1:${front.port}/queue/run`;
  assert.equal((await echo(url)).authorization, null);
  const own = await echo(url, { headers: { authorization: "Bearer mine" } });
  assert.equal(own.authorization, "Bearer mine");
});

test("an upgrade is rewritten as a request is", async (t) => {
  const { front } = await open(t);
  const socket = connect(front.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write(
    "GET /api/live HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  );
  let text = "";
  for await (const chunk of socket.setEncoding("utf8")) text += String(chunk);
  assert.match(text, /x-url: \/lb\/a1\/live/);
});

test("the next free port is taken, and a strict one is not", async (t) => {
  const { front } = await open(t);
  const engine = new EchoEngine();
  const other = await Front.listen(engine, {
    host: "127.0.0.1",
    port: front.port,
    strictPort: false,
  });
  t.after(() => other.end());
  assert.ok(other.port > front.port);
  await assert.rejects(
    Front.listen(engine, { host: "127.0.0.1", port: front.port, strictPort: true }),
    { code: "CONFLICT", message: `Port ${front.port} is in use.` },
  );
});
