import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  CpuInstanceType,
  CudaVersion,
  DataCenter,
  GpuGroup,
  GpuType,
} from "../../src/contract/hardware.ts";
import {
  checkName,
  checkOptions,
  closest,
  containerDiskGb,
  resolveOptions,
  type EndpointKind,
  type EndpointOptions,
} from "../../src/contract/options.ts";

const CENTERS = Object.values(DataCenter).join(", ");

/** Options as untyped JavaScript may hand them in. */
function messagesOf(options: unknown, kind?: EndpointKind): string[] {
  return checkOptions(options as EndpointOptions, kind).map(({ message }) => message);
}

describe("the mistakes of the original, with its texts", () => {
  const rows: [options: Record<string, unknown>, message: string, kind?: EndpointKind][] = [
    [
      { gpu: "any", cpu: "cpu3g-1-4" },
      "gpu and cpu are mutually exclusive. specify one or neither.",
    ],
    [
      { id: "a", image: "b" },
      "id and image are mutually exclusive. id= connects to an existing endpoint, image= deploys a new one.",
    ],
    [{ image: "b" }, "name or id is required when image= is set."],
    [{ maxConcurrency: 0 }, "max_concurrency must be >= 1, got 0"],
    [{ gpu: 5 }, "gpu must be a GpuGroup, GpuType, or list, got number"],
    [{ gpu: ["any", {}] }, "gpu must be a GpuGroup, GpuType, or list, got object"],
    [{ cpu: 5 }, "cpu must be a CpuInstanceType, string, or list, got number"],
    [{ cpu: "cpu9x-1-1" }, "'cpu9x-1-1' is not a valid CpuInstanceType"],
    [{ workers: "3" }, 'workers must be an int or (min, max) tuple, got string: "3"'],
    [{ workers: 1.5 }, "workers must be an int or (min, max) tuple, got number: 1.5"],
    [{ workers: [1, 2, 3] }, "workers must be an int or (min, max) tuple, got array: [1,2,3]"],
    [{ workers: -1 }, "workers cannot be negative: (0, -1)"],
    [{ workers: [-1, 2] }, "workers cannot be negative: (-1, 2)"],
    [{ workers: [3, 1] }, "workers min (3) cannot exceed max (1)"],
    [{ volume: [] }, "volume list must not be empty"],
    [
      { volume: [{ name: "a" }, "b"] },
      "volume list elements must be NetworkVolume; element at index 1 is string",
    ],
    [{ volume: "a" }, "volume must be a NetworkVolume or list of NetworkVolume, got string"],
    [{ idleTimeoutS: 0 }, "idleTimeout must be between 1 and 3600 seconds"],
    [{ idleTimeoutS: 3601 }, "idleTimeout must be between 1 and 3600 seconds"],
    [{ minCudaVersion: "9.0" }, "'9.0' is not a valid CudaVersion"],
    [{ datacenter: "MARS-1" }, `Unknown datacenter 'MARS-1'. Valid datacenters: ${CENTERS}`],
    [{ datacenter: ["EU-RO-1", 5] }, "Invalid datacenter value: 5"],
    [
      { cpu: "cpu3g-1-4", datacenter: ["EU-RO-1", "us_ca_2", "EU-CZ-1"] },
      "CPU endpoints are not available in: US-CA-2, EU-CZ-1. Supported CPU data centers: EU-RO-1",
    ],
    [
      { volume: [{ name: "a" }, { name: "b", datacenter: "eu_ro_1" }] },
      "Multiple volumes in datacenter EU-RO-1 ('a' and 'b'). Only one network volume is allowed per datacenter.",
    ],
    [
      { volume: { name: "a" }, datacenter: ["US-CA-2", "EU-CZ-1"] },
      "Network volume datacenter (EU-RO-1) is not in the endpoint's datacenter list (US-CA-2, EU-CZ-1)",
    ],
    [
      { cpu: ["cpu5c-1-2", "cpu3g-1-4"], template: { containerDiskInGb: 12 } },
      "Container disk size 12GB exceeds the maximum allowed for CPU instances. Instance limits: cpu5c-1-2: max 15GB, cpu3g-1-4: max 10GB. Maximum allowed: 10GB",
    ],
    [
      { scalerType: "QUEUE_DELAY" },
      "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. Load-balanced endpoints don't support queue-based scaling.",
      "lb",
    ],
    [{ volume: {} }, "either 'name' or 'id' must be provided"],
    [{ volume: { name: " " } }, "name must not be empty or whitespace-only"],
  ];
  for (const [options, message, kind] of rows) {
    test(message, () => assert.deepEqual(messagesOf(options, kind), [message]));
  }
});

describe("further mistakes", () => {
  const rows: [options: unknown, message: string][] = [
    [null, "Endpoint() takes an object of options, got null"],
    [[], "Endpoint() takes an object of options, got array"],
    ["name", "Endpoint() takes an object of options, got string"],
    [
      { idle_timeout_s: 5 },
      "Endpoint() got unknown option: 'idle_timeout_s' (Did you mean 'idleTimeoutS'?)",
    ],
    [{ pythonVersion: "3.12" }, "Endpoint() got unknown option: 'pythonVersion'"],
    [JSON.parse('{"__proto__":1}'), "Endpoint() got unknown option: '__proto__'"],
    [{ name: "" }, "name must not be empty or whitespace-only"],
    [{ name: 5 }, "name must be a string, got number"],
    [{ id: " " }, 'id must be a non-empty string, got " "'],
    [{ name: "a", image: 5 }, "image must be a non-empty string, got 5"],
    [{ gpu: [] }, "gpu list must not be empty"],
    [{ gpu: "RTX 9090" }, "'RTX 9090' is not a valid GpuGroup or GpuType"],
    [{ cpu: [] }, "cpu list must not be empty"],
    [{ gpuCount: 0 }, "gpuCount must be a whole number >= 1, got 0"],
    [{ executionTimeoutMs: -1 }, "executionTimeoutMs must be a whole number >= 0, got -1"],
    [{ keyConcurrency: 0 }, "keyConcurrency must be a whole number >= 1, got 0"],
    [{ retries: 1.5 }, "retries must be a whole number >= 0, got 1.5"],
    [{ scalerValue: Number.NaN }, "scalerValue must be a number >= 1, got NaN"],
    [{ scalerType: "FAST" }, 'scalerType must be one of QUEUE_DELAY, REQUEST_COUNT, got "FAST"'],
    [{ datacenter: [] }, "datacenter list must not be empty"],
    [{ volume: null }, "volume must be a NetworkVolume or list of NetworkVolume, got null"],
    [
      { volume: { name: "a", sise: 5 } },
      "NetworkVolume() got unknown option: 'sise' (Did you mean 'size'?)",
    ],
    [
      { volume: { name: "a", size: 9 } },
      "size must be a whole number of GB from 10 to 4096, got 9",
    ],
    [
      { volume: { name: "a", size: 5000 } },
      "size must be a whole number of GB from 10 to 4096, got 5000",
    ],
    [{ volume: { name: 5 } }, "name must be a string, got number"],
    [{ volume: { name: "a", datacenter: 5 } }, "Invalid datacenter value: 5"],
    [
      { volume: { name: "a", datacenter: "MARS-1" } },
      `Unknown datacenter 'MARS-1'. Valid datacenters: ${CENTERS}`,
    ],
    [{ dependencies: "zod" }, 'dependencies must be a list of package names, got "zod"'],
    [{ systemDependencies: [""] }, 'systemDependencies must be a list of package names, got [""]'],
    [{ env: { A: undefined } }, "env.A must be a string, got undefined"],
    [{ env: ["A=1"] }, "env must be an object of strings, got array"],
    [{ env: { "A=B": "1" } }, 'env has the name "A=B", which no variable can have'],
    [{ flashboot: "yes" }, 'flashboot must be true or false, got "yes"'],
    [{ accelerateDownloads: 1 }, "accelerateDownloads must be true or false, got 1"],
    [{ template: "x" }, "template must be a PodTemplate, got string"],
    [
      { template: { containerDiskInGb: 0 } },
      "template.containerDiskInGb must be a whole number of GB >= 1, got 0",
    ],
    [
      { template: { imagename: "x" } },
      "PodTemplate() got unknown option: 'imagename' (Did you mean 'imageName'?)",
    ],
    [{ template: { env: { A: 1 } } }, "template.env.A must be a string, got number"],
    [{ template: { advancedStart: "no" } }, 'template.advancedStart must be a boolean, got "no"'],
    [{ input: { parse: 1 } }, "input must be a Standard Schema, got object"],
    [{ output: 5 }, "output must be a Standard Schema, got number"],
  ];
  for (const [options, message] of rows) {
    test(message, () => assert.deepEqual(messagesOf(options), [message]));
  }

  test("everything that is wrong is said at once", () => {
    const messages = messagesOf({ workers: -1, gpuCount: 0, idleTimeoutS: 0, what: 1 });
    assert.equal(messages.length, 4);
  });

  test("hints use the names of this package", () => {
    const [mistake] = checkOptions({ maxConcurrency: 0 });
    assert.equal(mistake?.hint, "Set maxConcurrency to a whole number of 1 or more.");
    const [gpu] = checkOptions({ gpu: "AMPERE_90" as GpuGroup });
    assert.equal(gpu?.hint, "Did you mean 'AMPERE_80'?");
  });

  test("values that cannot be written as JSON do not break the message", () => {
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    for (const value of [loop, 1n, Symbol("s"), () => 1]) {
      assert.equal(messagesOf({ retries: value, workers: value, minCudaVersion: value }).length, 3);
    }
  });
});

describe("options that are fine", () => {
  const fine: EndpointOptions[] = [
    {},
    { name: "a" },
    { gpu: GpuType.NVIDIA_L4 },
    { gpu: [GpuGroup.AMPERE_80, GpuType.NVIDIA_A40] },
    { gpu: "any" },
    { cpu: ["cpu3c-1-2", CpuInstanceType.CPU5C_8_16], datacenter: "EU-RO-1" },
    { workers: 0 },
    { workers: [0, 0] },
    { workers: [2, 2] },
    { idleTimeoutS: 1 },
    { idleTimeoutS: 3600 },
    { datacenter: "eu_ro_1" as DataCenter },
    { volume: { id: "vol" }, datacenter: "US-CA-2" },
    { volume: [{ id: "a" }, { id: "b" }] },
    { volume: [{ name: "a" }, { name: "b", datacenter: "US-CA-2" }] },
    { volume: { name: "a", size: 10 } },
    { cpu: "cpu5c-4-8", template: { containerDiskInGb: 60 } },
    { template: { containerDiskInGb: 500, env: { A: "1" }, config: { a: 1 } } },
    { minCudaVersion: "13.0" },
    { env: { A: "" } },
  ];
  for (const options of fine) {
    test(JSON.stringify(options), () => assert.deepEqual(messagesOf(options), []));
  }

  test("a schema that is a function, as some libraries have it", () => {
    const schema = Object.assign(() => 1, {
      "~standard": { version: 1 as const, vendor: "x", validate: (value: unknown) => ({ value }) },
    });
    assert.deepEqual(messagesOf({ input: schema, output: schema }), []);
  });
});

describe("the resolved form", () => {
  test("has a value for everything", () => {
    assert.deepEqual(resolveOptions({}, "qb", "a"), {
      name: "a",
      image: null,
      gpu: ["any"],
      cpu: null,
      gpuCount: 1,
      workersMin: 0,
      workersMax: 1,
      idleTimeoutS: 60,
      dependencies: [],
      systemDependencies: [],
      accelerateDownloads: true,
      volumes: [],
      datacenters: [],
      env: {},
      secrets: {},
      executionTimeoutMs: 0,
      flashboot: true,
      scalerType: "QUEUE_DELAY",
      scalerValue: 4,
      template: null,
      minCudaVersion: "12.8",
      maxConcurrency: 1,
      retries: 2,
      keyConcurrency: 1,
    });
  });

  test("a worker has one job at once, or a thousand requests, unless it is said", () => {
    assert.equal(resolveOptions({ name: "a" }, "qb", "a").maxConcurrency, 1);
    assert.equal(resolveOptions({ name: "a" }, "lb", "a").maxConcurrency, 1000);
    assert.equal(resolveOptions({ name: "a", maxConcurrency: 1 }, "lb", "a").maxConcurrency, 1);
  });

  test("load-balanced endpoints count requests; CPU endpoints have no GPU fields", () => {
    const { scalerType, gpu, cpu, gpuCount, minCudaVersion } = resolveOptions(
      { cpu: "cpu3g-1-4", gpuCount: 2, minCudaVersion: CudaVersion.V11_8 },
      "lb",
      "a",
    );
    assert.equal(scalerType, "REQUEST_COUNT");
    assert.deepEqual([gpu, cpu, gpuCount, minCudaVersion], [null, ["cpu3g-1-4"], 0, null]);
  });

  test("short forms are written out", () => {
    const resolved = resolveOptions(
      {
        workers: 3,
        datacenter: "us_ca_2" as DataCenter,
        volume: { name: "a", datacenter: "us_ca_2" as DataCenter },
      },
      "qb",
      "a",
    );
    assert.deepEqual([resolved.workersMin, resolved.workersMax], [0, 3]);
    assert.deepEqual(resolved.datacenters, ["US-CA-2"]);
    assert.deepEqual(resolved.volumes, [{ name: "a", size: 100, datacenter: "US-CA-2" }]);
    const byId = resolveOptions({ volume: { id: "v" } }, "qb", "a");
    assert.deepEqual(byId.volumes, [{ id: "v" }]);
    const byName = resolveOptions({ volume: { name: "v" } }, "qb", "a");
    assert.deepEqual(byName.volumes, [{ name: "v", size: 100, datacenter: "EU-RO-1" }]);
  });

  test("it is JSON, and shares nothing with what the user may change later", () => {
    const env = { A: "1" };
    const dependencies = ["a"];
    const resolved = resolveOptions({ env, dependencies }, "qb", "a");
    env.A = "2";
    dependencies.push("b");
    assert.deepEqual([resolved.env, resolved.dependencies], [{ A: "1" }, ["a"]]);
    assert.deepEqual(JSON.parse(JSON.stringify(resolved)), resolved);
  });

  test("a mistake is thrown with its option", () => {
    assert.throws(() => resolveOptions({ workers: -1 }, "qb", "a"), {
      code: "INVALID_OPTIONS",
      message: "workers cannot be negative: (0, -1)",
      details: { option: "workers" },
    });
  });

  const disks: [options: EndpointOptions, gb: number][] = [
    [{}, 64],
    [{ template: { containerDiskInGb: 100 } }, 100],
    [{ cpu: "cpu3g-2-8" }, 20],
    [{ cpu: "cpu5c-2-4" }, 30],
    [{ cpu: ["cpu5c-8-16", "cpu3c-1-2"] }, 10],
    [{ cpu: "cpu5c-8-16", template: { containerDiskInGb: 50 } }, 50],
  ];
  for (const [options, gb] of disks) {
    test(`the disk of ${JSON.stringify(options)} has ${gb} GB`, () => {
      assert.equal(containerDiskGb(resolveOptions(options, "qb", "a")), gb);
    });
  }
});

describe("names", () => {
  for (const name of ["a", "User-Service_1.2", "9lives", "a".repeat(63)]) {
    test(`${name} is fine`, () => assert.equal(checkName(name), undefined));
  }
  for (const name of [
    "",
    " ",
    "-a",
    ".a",
    "a b",
    "a/b",
    "ä",
    "a".repeat(64),
    "flash",
    "FLASH",
    5,
    null,
  ]) {
    test(`${String(name)} is not`, () => assert.notEqual(checkName(name), undefined));
  }

  test("the closest known word, or none", () => {
    assert.equal(closest("wrokers", ["workers", "volume"]), "workers");
    assert.equal(closest("xyz", ["workers", "volume"]), undefined);
  });
});
