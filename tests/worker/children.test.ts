/**
 * Child processes of functions, in the real worker program: they end with the call that started them
 * when it is aborted, and only then. Nothing here hands a signal to a child unless a title says so.
 */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { endAfterwards, isAlive, kill } from "../support/processes.ts";
import { ROOT, temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { parameter, routeOf, signature, writeArtifact } from "./artifact.ts";
import { LinkServer } from "./link-server.ts";
import { ProtocolServer } from "./protocol-server.ts";
import { WorkerProcess } from "./worker-process.ts";

/** Every child writes its own process id and that of a child of its own. */
const CODE = `
import { exec, execFile, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import startByPackage from "starter";
import { runInProcess } from ${JSON.stringify(path.join(ROOT, "src", "sdk", "in-process.ts"))};
const TREE = "sleep 600 & echo $$ $!; wait";
const DEAF = "trap '' TERM; " + TREE;
const shell = (script, options) => spawn("sh", ["-c", script], options);
const letGo = (child) => (child.unref(), child);
const ways = {
  spawn: () => shell(TREE),
  exec: () => exec(TREE),
  execFile: () => promisify(execFile)("sh", ["-c", TREE]).child,
  fork: () => fork(new URL("../../forked.mjs", import.meta.url), { silent: true }),
  package: () => startByPackage(TREE),
  "call in process": () => runInProcess(() => shell(TREE)),
  "group of its own": () => shell(TREE, { detached: true }),
  deaf: () => shell(DEAF),
  "deaf group": () => shell(DEAF, { detached: true }),
  "let go": () => letGo(shell(TREE)),
  "group that was let go": () => letGo(shell(TREE, { detached: true })),
};
const pidsOf = async (child) => {
  const [text] = await once(child.stdout, "data");
  child.stdout.unref();
  return String(text).trim().split(" ").map(Number);
};
const aborted = () => new Promise((resolve) => context().signal.addEventListener("abort", resolve));
`;

const FILES = {
  "forked.mjs": `import { spawn } from "node:child_process";
    console.log(process.pid, spawn("sleep", ["600"]).pid);`,
  "node_modules/starter/index.js": `const { spawn } = require("child_process");
    module.exports = async (script) => spawn("sh", ["-c", script]);`,
};

/** Waits for its child's end, or to be told. */
const WAITING = `queue(async ({ how }) => {
  const child = await ways[how]();
  const ended = once(child, "close");
  context().progress(await pidsOf(child));
  await Promise.race([ended, aborted()]);
  return "over";
});`;

interface Started {
  server: LinkServer;
  worker: WorkerProcess;
  /** Gives a job and resolves with the processes it has started. */
  give: (id: string, input: unknown, more?: Record<string, unknown>) => Promise<number[]>;
}

/** A ready worker that may run four jobs at once. */
async function start(t: Owner, code: string): Promise<Started> {
  const server = await LinkServer.start(t);
  const http = await ProtocolServer.start(t);
  const artifact = writeArtifact(t, {
    kind: "qb",
    functions: [signature("demo", [parameter("input", { type: "object" })])],
    options: { maxConcurrency: 4 },
    code: CODE + code,
    files: FILES,
  });
  const env = { ...http.env, FLASH_JOB_LINK: server.url };
  const worker = await WorkerProcess.startReady(t, artifact, { env });
  await server.linked();
  const give: Started["give"] = async (id, input, more) => {
    server.give(id, input, more);
    const pids = (await server.posted(id)).value as number[];
    endAfterwards(t, pids);
    assert.ok(pids.length > 0 && pids.every(isAlive), `${id} has started ${pids.join(" ")}`);
    return pids;
  };
  return { server, worker, give };
}

async function untilEnded(pids: readonly number[]): Promise<void> {
  await until(() => !pids.some(isAlive), { what: `the end of ${pids.join(" ")}` });
}

describe("children of a job that is stopped", { concurrency: 2 }, () => {
  test("end with what they have started, whatever started them, and nobody else's do", async (t) => {
    const { server, worker, give } = await start(t, WAITING);
    const others = await give("other", { how: "spawn" });
    const ways = ["spawn", "exec", "execFile", "fork", "package", "call in process"];
    for (const how of [...ways, "group of its own"]) {
      const id = how.replaceAll(" ", "-");
      const pids = await give(id, { how });
      server.stop(id);
      await untilEnded(pids);
    }
    assert.ok(others.every(isAlive));
    // The other job has not been disturbed: it ends when its child does.
    kill(others);
    assert.equal((await server.posted("other", 2)).value, "over");
    assert.equal(worker.child.exitCode, null);
  });

  test("are killed when they pay no attention, with what they have started", async (t) => {
    const { server, worker, give } = await start(t, WAITING);
    const others = await give("other", { how: "deaf" });
    const pids = await give("deaf", { how: "deaf" });
    const group = await give("group", { how: "deaf group" });
    server.stop("deaf", "group");
    await untilEnded([...pids, ...group]);
    assert.ok(others.every(isAlive));
    assert.equal(worker.child.exitCode, null);
  });

  test("free a function that waits for them, so that its worker stays", async (t) => {
    const { server, worker, give } = await start(
      t,
      `queue(async ({ how }) => {
        const child = ways[how]();
        const ended = once(child, "close");
        context().progress(await pidsOf(child));
        await ended;
        console.log("freed");
      });`,
    );
    const pids = await give("j1", { how: "deaf" });
    server.stop("j1");
    await untilEnded(pids);
    await until(() => worker.stdout.includes("freed"), { what: "the function's end" });
    await until(() => server.slots === 4, { what: "its slot" });
    assert.equal(worker.child.exitCode, null);
  });

  test("that were let go stay", async (t) => {
    const { server, give } = await start(t, WAITING);
    const left = await give("left", { how: "let go" });
    const group = await give("group", { how: "group that was let go" });
    const last = await give("last", { how: "deaf" });
    server.stop("left", "group", "last");
    // Those of the last one are gone when all of the others would be.
    await untilEnded(last);
    assert.ok([...left, ...group].every(isAlive));
  });

  test("that a package keeps for all calls stay, although this one has work for it", async (t) => {
    const { server, give } = await start(
      t,
      `import { build, transform } from ${JSON.stringify(path.join(ROOT, "node_modules", "esbuild", "lib", "main.js"))};
      queue(async ({ how }) => {
        if (how === "transform") return (await transform("let x: number", { loader: "ts" })).code;
        const child = ways[how]();
        const pids = await pidsOf(child);
        const wait = () => { context().progress(pids); return aborted(); };
        const plugins = [{ name: "wait", setup: (esbuild) => esbuild.onLoad({ filter: /./ }, wait) }];
        await build({ entryPoints: ["/endless.js"], write: false, logLevel: "silent", plugins: [
          { name: "find", setup: (esbuild) => esbuild.onResolve({ filter: /./ }, ({ path }) => ({ path })) },
          ...plugins,
        ] });
      });`,
    );
    const pids = await give("building", { how: "deaf" });
    server.stop("building");
    await untilEnded(pids);
    server.give("next", { how: "transform" });
    assert.deepEqual((await server.posted("next")).value, "let x;\n");
  });

  test("get one SIGTERM, although the function stops them too", async (t) => {
    const folder = temporaryFolder(t);
    const { server, give } = await start(
      t,
      `const COUNT = 'trap "echo TERM >> $0" TERM; echo $$; while :; do sleep 0.05; done';
      queue(async ({ how, file }) => {
        const options = { detached: how === "group" };
        if (how === "signal") options.signal = context().signal;
        const child = spawn("sh", ["-c", COUNT, file], options);
        child.on("error", () => undefined);
        if (how === "kill") context().signal.addEventListener("abort", () => child.kill());
        context().progress(await pidsOf(child));
        await aborted();
      });`,
    );
    const ways = ["alone", "group", "signal", "kill"];
    const pids: number[] = [];
    const fileOf = (how: string): string => path.join(folder, how);
    for (const how of ways) pids.push(...(await give(how, { how, file: fileOf(how) })));
    server.stop(...ways);
    await untilEnded(pids);
    for (const how of ways) assert.equal(readFileSync(fileOf(how), "utf8"), "TERM\n", how);
  });

  test("that clean up after it get the time for it, and no more", async (t) => {
    const code = `queue(async ({ how, file }) => {
        const child = ways[how]();
        context().progress(await pidsOf(child));
        await aborted();
        await promisify(exec)("sleep 0.3; echo clean > " + file).catch(() => console.log("cut short"));
        const [pid] = await pidsOf(shell(DEAF));
        console.log("late", pid);
      });`;
    // It gets 3 s. A machine that needs more for starting two shells has to do it again.
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      const file = path.join(temporaryFolder(t), "clean");
      const { server, worker, give } = await start(t, code);
      const pids = await give("j1", { how: "spawn", file });
      server.stop("j1");
      await untilEnded(pids);
      const lateOf = (): string | undefined => /late (\d+)/.exec(worker.stdout)?.[1];
      await until(() => lateOf() ?? worker.child.exitCode !== null, { what: "a late child" });
      const late = lateOf();
      if (late !== undefined) await untilEnded([Number(late)]);
      if (late === undefined || worker.stdout.includes("cut short")) continue;
      assert.ok(existsSync(file));
      return;
    }
    assert.fail("it never got the time to clean up");
  });

  test("end as well when its time is over", async (t) => {
    // More time where the machine has let it pass before there was a child.
    for (const executionTimeout of [3000, 12_000, 48_000]) {
      const { server } = await start(t, WAITING);
      server.give("j1", { how: "exec" }, { executionTimeout });
      const { post, value } = await server.posted("j1");
      if (post === "failed") continue;
      endAfterwards(t, value as number[]);
      assert.equal((await server.posted("j1", 2)).post, "failed");
      await untilEnded(value as number[]);
      return;
    }
    assert.fail("no time was enough to start a child");
  });
});

test("a job that comes to its end by itself leaves its children alone", async (t) => {
  const { server, give } = await start(
    t,
    `queue(async ({ how, waits, fails }) => {
      context().progress(await pidsOf(ways[how]()));
      if (waits) await aborted();
      if (fails) throw new Error("broken");
      return "done";
    });`,
  );
  // Although somebody stops it while its result is on the way.
  server.acknowledges = ({ post }) => post === "progress";
  const returned = await give("returned", { how: "spawn" });
  const failed = await give("failed", { how: "spawn", fails: true });
  const results = [await server.posted("returned", 2), await server.posted("failed", 2)];
  assert.deepEqual(
    results.map(({ post }) => post),
    ["done", "failed"],
  );
  const last = await give("last", { how: "deaf", waits: true });
  server.stop("returned", "failed", "last");
  await untilEnded(last);
  assert.ok([...returned, ...failed].every(isAlive));
});

test("children of a request end when its client leaves, and those of others do not", async (t) => {
  const artifact = writeArtifact(t, {
    kind: "lb",
    functions: [routeOf("GET /wait")],
    code: `${CODE} route("GET", "/wait", async () => {
      const child = ways.spawn();
      const ended = once(child, "close");
      console.log("pids", (await pidsOf(child)).join(" "));
      await ended;
      return "over";
    });`,
    files: FILES,
  });
  const worker = await WorkerProcess.startReady(t, artifact);
  const started = async (count: number): Promise<number[]> => {
    const line = await until(
      () => worker.stdout.split("\n").filter((one) => one.startsWith("pids "))[count - 1],
      { what: "children" },
    );
    const pids = line.split(" ").slice(1).map(Number);
    endAfterwards(t, pids);
    return pids;
  };
  const leaving = worker.open("/wait");
  leaving.on("error", () => undefined);
  const first = await started(1);
  const staying = worker.fetch("/wait");
  const second = await started(2);
  leaving.destroy();
  await untilEnded(first);
  assert.ok(second.every(isAlive));
  kill(second);
  assert.equal((await staying).json, "over");
});
