/** The server of a machine: started, found, stopped; and homes that never see each other. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { describe, test } from "node:test";
import type { ServerDocument } from "../../src/contract/control.ts";
import { freePort } from "../support/flash.ts";
import { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { ENTRY, machine, type Machine } from "./cli.ts";

async function started({ flash }: Machine, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await flash("server", "start", "--json", ...args);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { url: string }).url;
}

async function status({ flash }: Machine): Promise<{ running: boolean } & Partial<ServerDocument>> {
  const { stdout } = await flash("server", "status", "--json");
  return JSON.parse(stdout) as { running: boolean } & Partial<ServerDocument>;
}

function modeOf(file: string): string {
  return (statSync(file).mode & 0o777).toString(8);
}

describe("start and stop", () => {
  test("the server runs on after the command, is found again, and is gone after stop", async (t) => {
    const one = machine(t);
    const url = await started(one, "--port", "0");
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    const found = await status(one);
    assert.equal(found.url, url);
    const record = JSON.parse(readFileSync(path.join(one.home, "server.json"), "utf8")) as object;
    assert.deepEqual(Object.keys(record), ["pid", "url", "version", "startedAt"]);

    const stopped = await one.flash("server", "stop");
    assert.match(stopped.stdout, /stopped the Flash server/);
    await assert.rejects(fetch(`${url}/livez`));
    assert.ok(!existsSync(path.join(one.home, "server.json")));
    assert.deepEqual(await status(one), { running: false, home: one.home });
  });

  test("starting twice, even at once, is starting once", async (t) => {
    const one = machine(t);
    const port = String(await freePort());
    const urls = await Promise.all([1, 2, 3].map(() => started(one, "--port", port)));
    assert.deepEqual(new Set(urls), new Set([`http://127.0.0.1:${port}`]));
    const again = await one.flash("server", "start");
    assert.equal(again.code, 0);
    assert.match(again.stdout, /already runs at/);
  });

  test("stopping what does not run is no failure", async (t) => {
    const { code, stdout } = await machine(t).flash("server", "stop");
    assert.equal(code, 0);
    assert.match(stdout, /no Flash server runs/);
  });

  test("a killed server is not mistaken for a running one", async (t) => {
    const one = machine(t);
    await started(one, "--port", "0");
    const { pid = 0 } = await status(one);
    process.kill(pid, "SIGKILL");
    await until(async () => !(await status(one)).running, { what: "the server to be gone" });
    assert.ok(existsSync(path.join(one.home, "server.json")), "it left its record behind");
    const second = await started(one, "--port", "0");
    const next = await status(one);
    assert.equal(next.url, second);
    assert.notEqual(next.pid, pid);
  });

  test("a server that does not answer is not taken for one that does not run", async (t) => {
    const one = machine(t);
    await started(one, "--port", "0");
    const { pid = 0 } = await status(one);
    process.kill(pid, "SIGSTOP");
    for (const command of ["stop", "status"]) {
      const { code, stdout, stderr } = await one.flash("server", command);
      assert.deepEqual([code, stdout], [4, ""]);
      assert.match(stderr, new RegExp(`process ${pid}\\) has not answered for 10 s`));
    }
    process.kill(pid, "SIGCONT");
    assert.match((await one.flash("server", "stop")).stdout, /stopped the Flash server/);
  });

  test("in the foreground it ends with 0 on SIGTERM and on SIGINT, and leaves nothing behind", async (t) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const one = machine(t);
      const server = one.start("server", "start", "--foreground", "--port", "0");
      await server.says(/runs at http/);
      assert.equal((await status(one)).running, true);
      const { code } = await server.stop(signal);
      assert.equal(code, 0, signal);
      assert.ok(!existsSync(path.join(one.home, "server.json")));
    }
  });

  test("started under npm it outlives npm, in the foreground it ends with npm's shell", async (t) => {
    const background = machine(t, { npm_command: "exec" });
    const url = await started(background, "--port", "0");
    const foreground = machine(t, { npm_command: "exec" });
    const line = `'${process.execPath}' '${ENTRY}' server start --foreground --port 0; true`;
    const shell = Program.start(t, ["/bin/sh", "-c", line], foreground);
    await shell.says(/runs at http/);
    shell.child.kill("SIGKILL");
    await until(async () => !(await status(foreground)).running, { what: "the server to end" });
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
  });

  test("key, record and log are for the owner alone", async (t) => {
    const one = machine(t);
    await started(one, "--port", "0");
    for (const file of ["key", "server.json", "logs/server.log"]) {
      assert.equal(modeOf(path.join(one.home, file)), "600", file);
    }
    assert.equal(modeOf(one.home), "700");
  });

  test("the port comes from --port, else from FLASH_PORT", async (t) => {
    const [port, other] = [await freePort(), await freePort()];
    const byVariable = machine(t, { FLASH_PORT: String(port) });
    assert.equal(await started(byVariable), `http://127.0.0.1:${port}`);
    const byFlag = machine(t, { FLASH_PORT: String(port) });
    assert.equal(await started(byFlag, "--port", String(other)), `http://127.0.0.1:${other}`);
  });
});

describe("in the way", () => {
  test(
    "a home where nothing can be made is refused in a sentence",
    {
      skip: existsSync("/proc/self") ? false : "no /proc here",
    },
    async (t) => {
      const env = { FLASH_HOME: "/proc/flash" };
      for (const args of [["server", "start"], ["server", "start", "--foreground"], ["token"]]) {
        const { code, stderr } = await machine(t, env).flash(...args);
        assert.equal(code, 1);
        assert.match(stderr, /^✗ The file system refuses it: ENOENT.*'\/proc\/flash'\.\n/);
        assert.match(stderr, /FLASH_HOME names the folder/);
      }
    },
  );

  test("a server of another home on the port is never talked to", async (t) => {
    const port = String(await freePort());
    const mine = machine(t, { FLASH_PORT: port });
    const other = machine(t, { FLASH_PORT: port });
    await started(mine);
    const start = await other.flash("server", "start");
    assert.equal(start.code, 1);
    assert.match(start.stderr, new RegExp(`Another Flash server uses port ${port}`));
    for (const command of ["status", "logs"]) {
      const { code, stderr } = await other.flash(command);
      assert.equal(code, 1);
      assert.match(stderr, /Another Flash server uses port/);
    }
    assert.match((await other.flash("server", "stop")).stdout, /no Flash server runs/);
    assert.equal((await status(mine)).running, true, "the other one's stop did nothing to it");
  });

  test("something else on the port is named as that", async (t) => {
    const stranger = createServer((_, response) => response.end("hello"));
    await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
    t.after(() => stranger.close());
    const port = String((stranger.address() as AddressInfo).port);
    const { code, stderr } = await machine(t).flash("server", "start", "--port", port);
    assert.equal(code, 1);
    assert.match(stderr, /Something that is no Flash server uses port/);
    assert.match(stderr, /--port or FLASH_PORT/);
  });

  test("a server of this machine that is named gets the key only if it has it", async (t) => {
    const one = machine(t);
    const url = await started(one, "--port", "0");
    for (const name of [url, url.replace("127.0.0.1", "localhost")]) {
      const { code, stderr } = await one.flash("app", "list", "--target", name);
      assert.equal(code, 0, stderr);
    }
    const heard: string[] = [];
    const stranger = createServer((request, response) => {
      heard.push(JSON.stringify(request.headers));
      response.writeHead(request.url === "/livez" ? 200 : 401).end("{}");
    });
    await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
    t.after(() => stranger.close());
    const other = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`;
    const { code, stderr } = await one.flash("app", "list", "--target", other);
    assert.equal(code, 3);
    assert.match(stderr, /wants a key/);
    assert.match(stderr, /FLASH_API_KEY/);
    assert.ok(heard.length > 1);
    assert.ok(!heard.join().includes("authorization"), heard.join());
  });

  test("whoever takes the port of a server that is down is not told its key", async (t) => {
    const one = machine(t);
    const url = await started(one, "--port", String(await freePort()));
    const { pid } = JSON.parse(readFileSync(path.join(one.home, "server.json"), "utf8"));
    process.kill(pid, "SIGKILL");
    const isFree = (): Promise<boolean> =>
      fetch(url).then(
        () => false,
        () => true,
      );
    await until(isFree, { what: "the port to be free" });
    const heard: string[] = [];
    const impostor = createServer((request, response) => {
      heard.push(JSON.stringify(request.headers));
      response.setHeader("x-flash-proof", "0".repeat(64)).end("{}");
    });
    impostor.listen(Number(new URL(url).port), "127.0.0.1");
    await once(impostor, "listening");
    t.after(() => impostor.close());
    const { code } = await one.flash("status", "--port", new URL(url).port);
    assert.equal(code, 1);
    assert.ok(heard.length > 0);
    assert.ok(!heard.join().includes("authorization"), heard.join());
    rmSync(path.join(one.home, "server.json"));
  });

  test("a second server on the same home is refused, on any port", async (t) => {
    const one = machine(t);
    const url = await started(one, "--port", "0");
    const other = String(await freePort());
    for (const flag of [[], ["--foreground"]]) {
      const { code, stderr } = await one.flash("server", "start", "--port", other, ...flag);
      assert.equal(code, 1);
      assert.match(stderr, /already runs at/);
    }
    assert.equal((await status(one)).url, url);
  });
});

describe("token", () => {
  test("it is there before the server, and it is the server's", async (t) => {
    const one = machine(t);
    const { code, stdout } = await one.flash("token");
    assert.equal(code, 0);
    const key = stdout.trim();
    assert.match(key, /^flash_[\w-]{43}$/);
    assert.equal(modeOf(path.join(one.home, "key")), "600");
    const url = await started(one, "--port", "0");
    const ask = (authorization: string): Promise<Response> =>
      fetch(`${url}/api/v1/server`, { headers: { authorization } });
    assert.equal((await ask(`Bearer ${key}`)).status, 200);
    assert.equal((await ask("Bearer other")).status, 401);
    assert.deepEqual(JSON.parse((await one.flash("token", "--json")).stdout), { key });
  });

  test("many at once agree on one key", async (t) => {
    const { flash } = machine(t);
    const keys = await Promise.all([1, 2, 3, 4].map(async () => (await flash("token")).stdout));
    assert.equal(new Set(keys).size, 1);
  });

  test("FLASH_API_KEY wins, and no key file is made for it", async (t) => {
    const { flash, home } = machine(t, { FLASH_API_KEY: "mine" });
    assert.equal((await flash("token")).stdout, "mine\n");
    assert.ok(!existsSync(home));
  });
});
