import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, describe, test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { buildSync } from "esbuild";
import type { RunningWorker } from "../../src/contract/compute.ts";
import { ManualClock } from "../../src/kit/clock.ts";
import { newId } from "../../src/kit/ids.ts";
import { createLog } from "../../src/kit/log.ts";
import { ProcessCompute } from "../../src/server/workers/process-compute.ts";
import { Standbys, type Runtime } from "../../src/server/workers/standbys.ts";
import { WorkerProcess } from "../../src/server/workers/worker-process.ts";
import { endAfterwards } from "../support/processes.ts";
import { ROOT, temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { COMPILED_FOLDER } from "../../src/worker/compiled.ts";
import { routeOf, writeArtifact } from "../worker/artifact.ts";

/** Shows the environment and the process that answer. */
const CODE = `
route("GET", "/env", () => ({ pid: process.pid, env: { ...process.env } }));
`;

/** Until a worker that does not end is killed, ms: these do end, and write down what V8 has compiled. */
const GRACE_MS = 60_000;

interface Shown {
  pid: number;
  env: Record<string, string>;
  /** URLs that the SDK was loaded from. */
  sdks?: string[];
  /** Names of the endpoints that are declared. */
  declared?: string[];
}

describe("standbys", () => {
  const home = temporaryFolder({ after }, "flash-standby");
  const artifactDir = writeArtifact(
    { after },
    { kind: "lb", functions: [routeOf("GET /env")], code: CODE },
  );
  copyFileSync(path.join(ROOT, "dist/runtime/worker.mjs"), path.join(artifactDir, "worker.mjs"));
  const compute = new ProcessCompute({ home });
  after(() => compute.close());

  const start = (env: Record<string, string>, flashboot = true): Promise<RunningWorker> =>
    startWorker(compute, { artifactDir, env, flashboot });
  const standing = (): number[] => standbysOf(home);

  test("one is kept as soon as workers may be wanted", async () => {
    assert.deepEqual(standing(), []);
    compute.prepare(artifactDir);
    await until(() => standing().length === 1, { what: "a standby" });
  });

  test("it becomes the worker, with the worker's environment and nothing of its own", async () => {
    let standby: number | undefined;
    let worker: RunningWorker;
    // What a process calls itself is seen a moment before its word has arrived.
    for (let tries = 0; ; tries++) {
      await until(() => standing().length >= 1, { what: "a standby" });
      const before = standing();
      worker = await start({ SECRET_OF_ONE: "1" });
      standby = before.find((pid) => pid === worker.pid);
      if (standby !== undefined || tries === 5) break;
      await worker.stop(GRACE_MS);
    }
    const shown = await show(worker);
    assert.equal(shown.pid, standby);
    assert.equal(shown.env["SECRET_OF_ONE"], "1");
    assert.equal(shown.env["RUNPOD_POD_ID"], worker.workerId);
    assert.equal(shown.env["FLASH_STANDBY"], undefined);
    await worker.stop(GRACE_MS);
  });

  test("a used one is replaced, and the next worker sees nothing of the last", async () => {
    await until(() => standing().length === 1, { what: "the next standby" });
    const worker = await start({ SECRET_OF_TWO: "2" });
    const { env } = await show(worker);
    assert.equal(env["SECRET_OF_TWO"], "2");
    assert.equal(env["SECRET_OF_ONE"], undefined);
    await worker.stop(GRACE_MS);
  });

  test("an endpoint without flashboot gets a process of its own", async () => {
    await until(() => standing().length === 1, { what: "a standby" });
    const [standby] = standing();
    const worker = await start({}, false);
    assert.notEqual((await show(worker)).pid, standby);
    await worker.stop(GRACE_MS);
  });

  test("without a standby at hand a start is a plain one", async () => {
    await until(() => standing().length >= 1, { what: "a standby" });
    const workers = await Promise.all(Array.from({ length: 4 }, () => start({})));
    const pids = await Promise.all(workers.map(async (worker) => (await show(worker)).pid));
    assert.equal(new Set(pids).size, 4);
    await Promise.all(workers.map((worker) => worker.stop(GRACE_MS)));
  });

  test("one that dies is replaced", async () => {
    await until(() => standing().length >= 1, { what: "a standby" });
    const before = standing();
    process.kill(before[0] ?? 0, "SIGKILL");
    // Not only its end, which can be seen before its parent has been told of it.
    await until(() => !existsSync(`/proc/${before[0]}`), { what: "its end to be noticed" });
    await until(() => standing().some((pid) => !before.includes(pid)), { what: "another standby" });
  });

  test("what V8 compiled for a worker is kept beside the code for the next one", async () => {
    const worker = await start({});
    await worker.stop(GRACE_MS);
    const kept = readdirSync(path.join(artifactDir, COMPILED_FOLDER), { recursive: true });
    // A folder for Node's version, and the bundle in it.
    assert.ok(kept.length > 1, kept.join(" "));
  });

  test("closing the driver ends them", async () => {
    await compute.close();
    await until(() => standing().length === 0, { what: "no standby" });
  });
});

test("a standby rehearses, and the SDK it has loaded stands in for that of the worker's artifact", async (t) => {
  const home = temporaryFolder(t, "flash-standby");
  const warnings: string[] = [];
  const log = createLog({ write: (line) => void warnings.push(line), level: "warn" });
  const compute = new ProcessCompute({ home, log });
  t.after(() => compute.close());
  const [one, other] = [artifactWithSdk(t), artifactWithSdk(t)];
  compute.prepare(one);
  await until(() => standbysOf(home).length === 1, { what: "a standby" });
  const [standby] = standbysOf(home);
  // What it calls itself is seen a moment before its word has arrived.
  let worker: RunningWorker;
  do worker = await startWorker(compute, { artifactDir: other, env: {} });
  while (worker.pid !== standby && isStandbyOf(standby ?? 0, home));
  const shown = await show(worker);
  assert.equal(shown.pid, standby);
  assert.deepEqual(shown.sdks, [pathToFileURL(path.join(one, "sdk.mjs")).href]);
  // Declared by the rehearsal, and gone.
  assert.deepEqual(shown.declared, ["demo"]);
  assert.deepEqual(warnings, []);
});

describe("the number of standbys", () => {
  /** Says that it stands by, and stays. */
  const PROGRAM = `process.send({ type: "standby" }); setInterval(() => undefined, 1000);`;

  function keeper(t: TestContext, program = PROGRAM) {
    const folder = temporaryFolder(t, "flash-standbys");
    const file = path.join(folder, "standby.mjs");
    writeFileSync(file, program);
    const clock = new ManualClock();
    const alive = new Set<WorkerProcess>();
    let booted = 0;
    let most = 0;
    const standbys = new Standbys({
      clock,
      onUnready: assert.fail,
      boot: async () => {
        const place = { mark: `s${++booted}`, folder };
        const process = await WorkerProcess.spawn({ program: file, label: "test", place, env: {} });
        alive.add(process);
        most = Math.max(most, alive.size);
        void process.exited.then(() => alive.delete(process));
        return process;
      },
    });
    t.after(async () => {
      standbys.close();
      for (const process of alive) process.kill();
      await until(() => alive.size === 0, { what: "the end of all" });
    });
    return {
      standbys,
      clock,
      folder,
      alive,
      most: () => most,
      /** Takes one that somebody else needs, and lets it end: what is alive is what stands by. */
      take: async (runtime: Runtime) => {
        const standby = standbys.take(runtime);
        if (standby === undefined) return false;
        standby.kill();
        await standby.exited;
        return true;
      },
    };
  }
  const one = { digest: "1", file: "" };
  const processors = Math.max(1, os.availableParallelism());

  test("grows with misses up to the processors, and is one again after a quiet minute", async (t) => {
    const { standbys, clock, take, most } = keeper(t);
    standbys.keep(one);
    await until(() => standbys.ready === 1, { what: "the first" });
    // A burst of cold starts.
    let hits = 0;
    for (let start = 0; start < 20; start++) if (await take(one)) hits++;
    assert.equal(hits, 1);
    clock.advance(300);
    await until(() => standbys.ready === processors, { what: "more of them" });
    assert.ok(most() <= processors, `${most()} were alive at once`);
    clock.advance(60_000);
    await until(() => standbys.ready === 1, { what: "one again" });
  });

  test("counts none that has died, although its output has not ended yet", async (t) => {
    const { standbys, take, alive, folder } = keeper(
      t,
      `import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
const child = spawn("sleep", ["600"], { detached: true, stdio: ["ignore", "inherit", "inherit"] });
writeFileSync("child", String(child.pid));
${PROGRAM}`,
    );
    standbys.keep(one);
    await until(() => standbys.ready === 1, { what: "a standby" });
    endAfterwards(t, [Number(readFileSync(path.join(folder, "child"), "utf8"))]);
    const [standby] = alive;
    assert.ok(standby);
    process.kill(standby.pid, "SIGKILL");
    await until(() => !existsSync(`/proc/${standby.pid}`), { what: "its end to be noticed" });
    assert.equal(await take(one), false);
  });

  test("is kept for the two runtimes that were wanted last", async (t) => {
    const { standbys, take, clock, alive } = keeper(t);
    const [two, three] = [
      { digest: "2", file: "" },
      { digest: "3", file: "" },
    ];
    standbys.keep(one);
    standbys.keep(two);
    await until(() => standbys.ready === 2, { what: "one of each" });
    assert.deepEqual([await take(one), await take(two)], [true, true]);
    clock.advance(300);
    await until(() => standbys.ready === 2, { what: "their successors" });
    standbys.keep(three);
    await until(() => alive.size === 2 && standbys.ready === 2, { what: "the first one's end" });
    assert.deepEqual([await take(two), await take(three)], [true, true]);
    assert.equal(await take(one), false);
  });
});

interface WorkerStart {
  artifactDir: string;
  env: Record<string, string>;
  flashboot?: boolean;
}

/** Resolves when the worker is ready. */
async function startWorker(
  compute: ProcessCompute,
  { artifactDir, env, flashboot = true }: WorkerStart,
): Promise<RunningWorker> {
  // Nobody else's on this machine: whatever has the id of a worker that has ended is ended, too.
  const workerId = newId();
  const lines: string[] = [];
  const worker = await compute.start({
    workerId,
    endpointId: "e1",
    endpointName: "demo",
    kind: "lb",
    artifactDir,
    flashboot,
    env: { FLASH_RESOURCE_NAME: "demo", RUNPOD_POD_ID: workerId, ...env },
    onLine: ({ text }) => lines.push(text),
  });
  const exit = await Promise.race([worker.ready?.then(() => undefined), worker.exited]);
  assert.equal(exit, undefined, `${JSON.stringify(exit)}\n${lines.join("\n")}`);
  return worker;
}

/** With a bundle that imports the SDK, which says where it was loaded from. */
function artifactWithSdk(owner: Owner): string {
  const artifactDir = writeArtifact(owner, {
    kind: "lb",
    functions: [routeOf("GET /env")],
    code: `
import { Endpoint } from "../../sdk.mjs";
Endpoint({ name: "demo" }).get("/env", () => ({
  pid: process.pid,
  sdks: globalThis.sdks,
  declared: registry.declarations.map(({ name }) => name),
}));
`,
  });
  copyFileSync(path.join(ROOT, "dist/runtime/worker.mjs"), path.join(artifactDir, "worker.mjs"));
  buildSync({
    entryPoints: [path.join(ROOT, "src/sdk/sdk.ts")],
    outfile: path.join(artifactDir, "sdk.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    footer: { js: "(globalThis.sdks ??= []).push(import.meta.url);" },
  });
  return artifactDir;
}

/** Processes that stand by for the server of this home. */
function standbysOf(home: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => isStandbyOf(pid, home));
}

function isStandbyOf(pid: number, home: string): boolean {
  try {
    const title = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0];
    return title === "flash-standby" && readFileSync(`/proc/${pid}/environ`, "utf8").includes(home);
  } catch {
    return false;
  }
}

async function show(worker: RunningWorker): Promise<Shown> {
  const { address } = worker;
  assert.ok(address !== undefined && "socketPath" in address);
  const text = await new Promise<string>((resolve, reject) => {
    http
      .get({ socketPath: address.socketPath, path: "/env" }, (response) => {
        let body = "";
        response.on("data", (part: Buffer) => (body += part.toString()));
        response.on("end", () => resolve(body));
      })
      .on("error", reject);
  });
  return JSON.parse(text) as Shown;
}
