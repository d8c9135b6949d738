/** A server with accepted jobs, the first of them running, to be killed. The argument is its FLASH_HOME. */

import path from "node:path";
import { after } from "node:test";
import { SqliteStore } from "../../src/server/server.ts";
import { until } from "../support/until.ts";
import { TestServer } from "./server-support.ts";

const home = process.argv[2] ?? "";
const server = await TestServer.start({ after }, { home, store: new SqliteStore({ home }) });
const { endpoints } = await server.deploy("shop", [{ name: "queue", kind: "qb" }]);
const url = `/v2/${endpoints[0]?.id}`;
const ids: string[] = [];
for (let count = 0; count < 5; count++) {
  const body = JSON.stringify({ input: count === 0 ? { hangOnce: path.join(home, "hung") } : {} });
  ids.push((await server.request(`${url}/run`, { method: "POST", body })).json.id);
}
await until(
  async () => (await server.request(`${url}/status/${ids[0]}`)).json.status === "IN_PROGRESS",
  { what: "the first job to run" },
);
console.log(JSON.stringify({ path: url, ids }));
