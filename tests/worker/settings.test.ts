/** The environment of a worker, as it reads it. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FlashError } from "../../src/contract/errors.ts";
import { workerEnvironment } from "../../src/contract/worker-env.ts";
import { readSettings } from "../../src/worker/settings.ts";

const NEEDED = { FLASH_ARTIFACT_DIR: "/artifact", FLASH_RESOURCE_NAME: "api" };

describe("routes", () => {
  test("listen on port 8000 with health at /ping unless told otherwise", () => {
    assert.deepEqual(readSettings(NEEDED).routes, {
      listen: { host: "0.0.0.0", port: 8000 },
      healthPort: undefined,
      healthPath: "/ping",
    });
  });

  test("listen on the socket when there is one, and nowhere else", () => {
    const env = { ...NEEDED, FLASH_SOCKET: "/run/w.sock", PORT: "80", PORT_HEALTH: "81" };
    const { listen, healthPort } = readSettings(env).routes;
    assert.deepEqual(listen, { socketPath: "/run/w.sock" });
    assert.equal(healthPort, undefined);
  });

  test("have a health port of their own only when it differs", () => {
    const { routes } = readSettings({ ...NEEDED, PORT: "80", PORT_HEALTH: "80" });
    assert.equal(routes.healthPort, undefined);
    const other = readSettings({
      ...NEEDED,
      PORT: "80",
      PORT_HEALTH: "81",
      HEALTH_CHECK_PATH: "up",
    });
    assert.equal(other.routes.healthPort, 81);
    assert.equal(other.routes.healthPath, "/up");
  });
});

describe("queue", () => {
  test("is read from what a server sets", () => {
    const identity = {
      serverUrl: "http://127.0.0.1:4747",
      app: "a",
      environment: "e",
      endpointId: "ep1",
      endpointName: "api",
      releaseId: "r",
      workerId: "w7",
      secret: "s",
    };
    const { queue, workerId } = readSettings({ ...NEEDED, ...workerEnvironment(identity, "qb") });
    assert.equal(workerId, "w7");
    assert.equal(queue?.key, "s");
    assert.equal(queue?.pingIntervalMs, 1000);
    assert.equal(queue?.getJob, "http://127.0.0.1:4747/v2/ep1/job-take/w7?gpu=CPU");
  });

  test("is absent without a URL to take jobs from", () => {
    assert.equal(readSettings(NEEDED).queue, undefined);
  });
});

test("a missing or wrong variable is named", () => {
  const isNamed = (name: string) => (error: unknown) =>
    FlashError.is(error) && error.code === "INVALID_CONFIG" && error.message.includes(name);
  assert.throws(() => readSettings({ FLASH_ARTIFACT_DIR: "/a" }), isNamed("FLASH_RESOURCE_NAME"));
  assert.throws(() => readSettings({ FLASH_RESOURCE_NAME: "a" }), isNamed("FLASH_ARTIFACT_DIR"));
  assert.throws(() => readSettings({ ...NEEDED, PORT: "eighty" }), isNamed("PORT"));
});
