// The worker of the crash campaign: squares numbers, and writes down every execution before it tells
// anybody, so that those which were repeated can be counted.
import { appendFileSync } from "node:fs";
import http from "node:http";

const { env } = process;
process.on("disconnect", () => process.exit(1));
const agent = new http.Agent({ keepAlive: true });

for (let round = 0; ; round++) {
  const taken = await send("GET", env.RUNPOD_WEBHOOK_GET_JOB);
  if (taken === "") continue;
  const { id, input, attempt } = JSON.parse(taken);
  const execution = `${env.RUNPOD_POD_ID}-${round}`;
  appendFileSync(env.EXECUTIONS, `${id} ${attempt} ${execution}\n`);
  const output = { square: input.n ** 2, execution };
  await send("POST", env.RUNPOD_WEBHOOK_POST_OUTPUT.replace("$ID", id), { output }, attempt);
}

function send(method, url, body, attempt) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: env.RUNPOD_AI_API_KEY };
    if (attempt !== undefined) headers["x-flash-attempt"] = String(attempt);
    const request = http.request(url, { method, agent, headers }, async (response) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      resolve(response.statusCode === 200 ? text : "");
    });
    request.on("error", reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
