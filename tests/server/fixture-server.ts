/** A server with two workers, to be killed: prints their process ids. The argument is its FLASH_HOME. */

import { after } from "node:test";
import { TestServer } from "./server-support.ts";

const home = process.argv[2] ?? "";
const server = await TestServer.start({ after }, { home });
const { endpoints } = await server.deploy("shop", [
  { name: "plain", kind: "lb" },
  { name: "stubborn", kind: "lb", options: { env: { IGNORE_DISCONNECT: "1" } } },
]);
const [plain, stubborn] = await Promise.all(
  endpoints.map(async ({ url }) => (await server.request(`${url}/pid`)).json.pid as number),
);
console.log(JSON.stringify({ plain, stubborn }));
