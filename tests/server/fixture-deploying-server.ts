/**
 * A server that deploys one version after the other and keeps only two, to be killed at any moment. The
 * argument is its FLASH_HOME. Prints the number of each release that it has made.
 */

import { after } from "node:test";
import { SqliteStore } from "../../src/server/server.ts";
import { TestServer } from "./server-support.ts";

const home = process.argv[2] ?? "";
const store = new SqliteStore({ home });
const server = await TestServer.start({ after }, { home, store, keepReleases: 2 });
for (;;) {
  const version = String(Math.random());
  const { release } = await server.deploy("shop", [
    { name: "api", kind: "lb", version },
    { name: "lasting", kind: "lb" },
  ]);
  console.log((await store.control.getRelease(release))?.version);
}
