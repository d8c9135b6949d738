/**
 * A server with an endpoint whose function streams numbers, made to be killed and started again.
 *
 *   node fixture-stream-server.ts <home> <port>
 *
 * Says where it is on stdout, once. What it has deployed, it finds again.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after } from "node:test";
import { SqliteStore } from "../../src/server/server.ts";
import { PATIENT_CLOCK } from "../support/clocks.ts";
import { deployCode } from "./code-support.ts";
import { TestServer } from "./server-support.ts";

/** Yields the numbers up to `count`, none above the one that is in the file `limit`. */
const CODE = `
import { readFileSync } from "node:fs";
queue(async function* (input: { limit: string; count: number }) {
  const { attempt } = context();
  for (let n = 1; n <= input.count; n++) {
    while (Number(readFileSync(input.limit, "utf8")) < n) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    yield { attempt, n, pid: process.pid };
  }
});`;

const [home = "", port = "0"] = process.argv.slice(2);
const deployed = path.join(home, "deployed");
const store = new SqliteStore({ home });
// A starved worker is not to lose its job: those who read count its attempts.
const options = { home, port: Number(port), store, clock: PATIENT_CLOCK };
const server = await TestServer.start({ after }, options);
if (!existsSync(deployed)) {
  const endpoints = await deployCode({ after }, server, [{ name: "numbers", code: CODE }]);
  writeFileSync(deployed, endpoints.get("numbers")?.id ?? "");
}
const endpoint = readFileSync(deployed, "utf8");
console.log(JSON.stringify({ url: `${server.url}/v2/${endpoint}`, key: server.server.key }));
