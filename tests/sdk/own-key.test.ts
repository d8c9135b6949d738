/** The key of this machine's server goes to a server that has proven to have it, and to no other. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { Endpoint } from "../../src/sdk/sdk.ts";
import { proofOf } from "../../src/server/control/key.ts";
import { temporaryFolder } from "../support/temp.ts";
import { FakeServer, job, KEY, remoteVariables, setVariables } from "./fake-server.ts";

const CHALLENGE = "x-flash-challenge";
const PROOF = "x-flash-proof";

/** A server that knows `key`, or none, and a home whose key is {@link KEY}. */
async function meet(t: TestContext, key: string | undefined): Promise<FakeServer> {
  const home = temporaryFolder(t, "flash-home");
  writeFileSync(path.join(home, "key"), `${KEY}\n`);
  const fake = await FakeServer.open(t);
  fake.on("POST /v2/abc/runsync", job({ output: 1 }));
  fake.on("GET /livez", ({ headers }) => {
    const proof = key && proofOf(key, Number(new URL(fake.url).port), headers[CHALLENGE]);
    return { body: {}, headers: proof ? { [PROOF]: proof } : {} };
  });
  setVariables(t, { ...remoteVariables(fake), FLASH_API_KEY: undefined, FLASH_HOME: home });
  return fake;
}

function sentKeys(fake: FakeServer): (string | undefined)[] {
  return fake.requests("POST /v2/abc/runsync").map(({ headers }) => headers.authorization);
}

describe("a server of this machine that FLASH_URL names", () => {
  test("gets the key once it has proven to have it, which is asked once for many calls", async (t) => {
    const fake = await meet(t, KEY);
    const endpoint = Endpoint({ id: "abc" });
    await Promise.all([endpoint.runsync({}), endpoint.runsync({})]);
    await endpoint.runsync({});
    assert.deepEqual(sentKeys(fake), Array(3).fill(`Bearer ${KEY}`));
    const asked = fake.requests("GET /livez");
    assert.equal(asked.length, 1);
    assert.match(String(asked[0]?.headers[CHALLENGE]), /^[0-9a-f]{64}$/);
    assert.equal(asked[0]?.headers.authorization, undefined);
  });

  test("gets no key when it has another one, or none", async (t) => {
    for (const key of ["flash_other", undefined]) {
      const fake = await meet(t, key);
      await Endpoint({ id: "abc" }).runsync({});
      assert.deepEqual(sentKeys(fake), [undefined]);
      assert.ok(!JSON.stringify(fake.seen).includes(KEY));
    }
  });

  test("gets no key for a proof that the real server gave on another port", async (t) => {
    const fake = await meet(t, undefined);
    const port = Number(new URL(fake.url).port) - 1;
    let challenge: string | undefined;
    fake.on("GET /livez", ({ headers }) => {
      challenge = String(headers[CHALLENGE]);
      return { headers: { [PROOF]: proofOf(KEY, port, challenge) ?? "" } };
    });
    await Endpoint({ id: "abc" }).runsync({});
    assert.ok(challenge !== undefined);
    assert.deepEqual(sentKeys(fake), [undefined]);
  });

  test("is not asked when a key is given", async (t) => {
    const fake = await meet(t, undefined);
    setVariables(t, { FLASH_API_KEY: "given" });
    await Endpoint({ id: "abc" }).runsync({});
    assert.deepEqual(sentKeys(fake), ["Bearer given"]);
    assert.equal(fake.requests("GET /livez").length, 0);
  });

  test("that does not answer is named as what it is", async (t) => {
    const fake = await meet(t, KEY);
    await fake.close();
    await assert.rejects(Endpoint({ id: "abc" }).runsync({}), {
      code: "CONNECTION_FAILED",
      message: /Failed to connect to endpoint abc/,
    });
  });
});
