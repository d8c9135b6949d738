/** A plan, and what a deployment then does: the same, endpoint for endpoint. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { renameSync, rmSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import type { DeploymentDocument, PlanDocument } from "../../src/contract/control.ts";
import type { EndpointManifest } from "../../src/contract/manifest.ts";
import { resolveOptions, type EndpointOptions } from "../../src/contract/options.ts";
import { OPTION_NAMES } from "../../src/contract/option-checks.ts";
import { shownOptions, type EndpointChange } from "../../src/contract/plan.ts";
import { Random } from "../support/random.ts";
import { artifactOf, manifestOf, TestServer, type EndpointSpec } from "./server-support.ts";

const PLACE = { app: "shop", environment: "production" };

interface Step {
  plan: PlanDocument;
  deployed: DeploymentDocument;
}

/** Asks for the plan, then deploys. */
async function step(server: TestServer, endpoints: readonly EndpointSpec[]): Promise<Step> {
  const artifact = await artifactOf("shop", endpoints);
  const digest = createHash("sha256").update(artifact).digest("hex");
  const manifest = manifestOf("shop", endpoints);
  const { control } = server.server;
  const plan = await control.plan({ ...PLACE, digest, manifest });
  const before = await control.model.builds("shop").catch(() => ({ builds: [] }));
  const build = await control.putBuild("shop", Readable.from([artifact]));
  assert.equal(
    plan.uploads,
    before.builds.every(({ id }) => id !== build.id),
    "uploads",
  );
  return { plan, deployed: await control.deploy({ ...PLACE, build: build.id }) };
}

function actions(changes: readonly EndpointChange[]): Record<string, string> {
  return Object.fromEntries(changes.map(({ name, action }) => [name, action]));
}

describe("a plan", () => {
  test("is what is then done, for random pairs of manifests", async (t) => {
    const random = new Random(20_26);
    const server = await TestServer.start(t);
    const randomEndpoints = (): EndpointSpec[] =>
      ["a", "b", "c", "d"]
        .filter(() => random.chance(0.7))
        .map((name) => ({
          name,
          kind: "lb",
          version: String(random.between(1, 2)),
          options: { workers: [0, random.between(1, 2)], idleTimeoutS: 3600 },
        }));
    /** What runs, by name: which endpoint and which process. */
    const running = async ({ endpoints }: Pick<DeploymentDocument, "endpoints">) => {
      const seen = new Map<string, { id: string; url: string; pid: number }>();
      for (const { name, id, url } of endpoints) {
        seen.set(name, { id, url, pid: (await server.request(`${url}/pid`)).json.pid });
      }
      return seen;
    };
    let now = await running({ endpoints: [] });
    let release: string | undefined;
    for (let round = 0; round < 16; round++) {
      const endpoints = randomEndpoints();
      // Now and then one is removed by itself in between.
      const [lost] = round % 4 === 3 ? now.keys() : [];
      if (lost !== undefined) await server.server.control.remove({ ...PLACE, endpoint: lost });
      const { plan, deployed } = await step(server, endpoints);
      assert.deepEqual(deployed.changes, plan.changes, `round ${round}`);
      assert.equal(plan.makesRelease, deployed.release !== release, `round ${round}`);
      const after = await running(deployed);
      for (const { name, action } of plan.changes) {
        const [was, is] = [now.get(name), after.get(name)];
        const what = `round ${round}: ${action} ${name}`;
        if (action === "unchanged") assert.deepEqual(is, was, what);
        else if (action === "create") assert.ok(was === undefined && is !== undefined, what);
        else if (action === "restore") assert.ok(name === lost && is?.id !== was?.id, what);
        else if (action === "update") {
          assert.equal(is?.id, was?.id, what);
          assert.notEqual(is?.pid, was?.pid, what);
        } else {
          assert.equal(is, undefined, what);
          assert.equal((await server.request(`${was?.url}/pid`)).status, 404, what);
        }
      }
      const planned = plan.changes.filter(({ action }) => action !== "remove");
      assert.deepEqual(
        planned.map(({ name }) => name),
        [...after.keys()].sort(),
      );
      [now, release] = [after, deployed.release];
    }
  });

  test("of what is active already is nothing at all", async (t) => {
    const server = await TestServer.start(t);
    const endpoints: EndpointSpec[] = [{ name: "api", kind: "lb" }];
    await step(server, endpoints);
    const { plan } = await step(server, endpoints);
    assert.deepEqual([plan.uploads, plan.makesRelease, plan.drift], [false, false, []]);
    assert.deepEqual(actions(plan.changes), { api: "unchanged" });
  });

  test("names lost files, and the deployment brings the endpoint back", async (t) => {
    const server = await TestServer.start(t);
    const lasting: EndpointSpec = { name: "api", kind: "lb" };
    const first = await step(server, [lasting]);
    await step(server, [lasting, { name: "queue", kind: "qb" }]);
    // The files that the unchanged endpoint runs from are the first build's.
    const folder = path.join(server.home, "builds", first.deployed.build);
    renameSync(folder, `${folder}.lost`);
    const status = await server.server.control.status("shop", "production");
    assert.deepEqual(status.drift, [{ name: "api", reason: "files", options: [] }]);
    const { plan, deployed } = await step(server, [lasting, { name: "queue", kind: "qb" }]);
    assert.deepEqual(actions(plan.changes), { api: "restore", queue: "unchanged" });
    assert.deepEqual(deployed.changes, plan.changes);
    assert.equal((await server.request(`${deployed.endpoints[0]?.url}/pid`)).status, 200);
    assert.deepEqual((await server.server.control.status("shop", "production")).drift, []);
    rmSync(`${folder}.lost`, { recursive: true });
  });

  test("does not show what variables hold", async (t) => {
    const server = await TestServer.start(t);
    const api = (value: string): EndpointSpec => ({
      name: "api",
      kind: "lb",
      options: { env: { TOKEN: value }, template: { env: { INNER: value } } },
    });
    await step(server, [api("canary-1")]);
    const { plan } = await step(server, [api("canary-2")]);
    const { options } = plan.changes[0] ?? assert.fail();
    assert.deepEqual(
      options.map(({ option }) => option),
      ["env.TOKEN", "template"],
    );
    const environment = await server.server.control.model.environment("shop", "production");
    assert.ok(!JSON.stringify([plan, environment]).includes("canary"));
  });
});

/** One other value for every option, and the resolved options that it changes. */
const OTHER: {
  [K in keyof Required<EndpointOptions>]: { value: EndpointOptions[K]; changes: string[] } | string;
} = {
  name: "it is the endpoint",
  id: "a client: nothing is deployed",
  input: "part of the code",
  output: "part of the code",
  image: { value: "whisper:2", changes: ["image"] },
  gpu: { value: "NVIDIA L4", changes: ["gpu"] },
  cpu: { value: "cpu5c-4-8", changes: ["cpu", "gpu", "gpuCount", "minCudaVersion"] },
  workers: { value: [1, 2], changes: ["workersMax", "workersMin"] },
  idleTimeoutS: { value: 7, changes: ["idleTimeoutS"] },
  dependencies: { value: ["left-pad"], changes: ["dependencies"] },
  systemDependencies: { value: ["ffmpeg"], changes: ["systemDependencies"] },
  accelerateDownloads: { value: false, changes: ["accelerateDownloads"] },
  volume: { value: { name: "models" }, changes: ["volumes"] },
  datacenter: { value: "EU-RO-1", changes: ["datacenters"] },
  env: { value: { LEVEL: "debug" }, changes: ["env.LEVEL"] },
  gpuCount: { value: 2, changes: ["gpuCount"] },
  executionTimeoutMs: { value: 9000, changes: ["executionTimeoutMs"] },
  flashboot: { value: false, changes: ["flashboot"] },
  scalerType: { value: "REQUEST_COUNT", changes: ["scalerType"] },
  scalerValue: { value: 9, changes: ["scalerValue"] },
  template: { value: { containerDiskInGb: 33 }, changes: ["template"] },
  minCudaVersion: { value: "12.4", changes: ["minCudaVersion"] },
  maxConcurrency: { value: 3, changes: ["maxConcurrency"] },
  retries: { value: 0, changes: ["retries"] },
  keyConcurrency: { value: 2, changes: ["keyConcurrency"] },
};

test("every option reaches the endpoint: the plan names it, and what runs has it", async (t) => {
  const server = await TestServer.start(t);
  assert.deepEqual(Object.keys(OTHER).sort(), [...OPTION_NAMES].sort());
  const base = { name: "queue", kind: "qb", form: "image" } as const;
  const reached = new Set<string>();
  for (const [option, other] of Object.entries(OTHER)) {
    if (typeof other === "string") continue;
    await step(server, [{ ...base, options: {} }]);
    // An image asks for a name among the options.
    const options: EndpointOptions = { name: base.name, [option]: other.value };
    const spec: EndpointSpec = { ...base, options };
    const { plan } = await step(server, [spec]);
    const [change] = plan.changes;
    assert.equal(change?.action, "update", option);
    assert.deepEqual(
      change.options.map((one) => one.option),
      other.changes,
      option,
    );
    const wanted = manifestOf("shop", [spec]).endpoints[0] as EndpointManifest;
    const { deployments } = await server.server.control.model.environment("shop", "production");
    assert.deepEqual(deployments[0]?.options, shownOptions(wanted.options), option);
    for (const one of other.changes) reached.add(one.split(".")[0] ?? "");
  }
  const all = Object.keys(resolveOptions({ env: { A: "1" } }, "qb", "queue"));
  assert.deepEqual(
    all.filter((option) => option !== "name" && option !== "secrets" && !reached.has(option)),
    [],
  );
});
