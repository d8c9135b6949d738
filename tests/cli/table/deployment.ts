/** Rows about what is deployed: deploy, status, call, logs, jobs, rollback, undeploy. */

import assert from "node:assert/strict";
import type { Case } from "./case.ts";
import { editProject } from "./project.ts";

const SERVER = "--target {url}".split(" ");

export const DEPLOYMENT_CASES: readonly Case[] = [
  {
    title: "deploy creates app and environment, and prints lines to try",
    args: ["deploy", "--no-deps", "--exclude", "torch", "--output", "d.tar.gz"],
    stdout:
      /✓ deployed to production[^]*Load-balanced endpoints:\n {2}shelf[^]*POST +\/add[^]*Queue-based endpoints:[^]*double[^]*Try it:[^]*curl/,
    stderr: /No app 'shop' found\. Creating app and 'production' environment\.\.\./,
  },
  {
    title: "deploy to another environment of another app, on the server that is named",
    args: ["deploy", "--app", "shop", "--env", "staging", ...SERVER, "--json"],
    json: ({ app, environment, endpoints }, { values }) => {
      assert.deepEqual([app, environment], ["shop", "staging"]);
      assert.equal((endpoints as unknown[]).length, 4);
      values.environments = "2";
    },
  },
  {
    title: "with several environments one must be named",
    args: ["status"],
    code: 1,
    stdout: "",
    stderr: /Multiple environments found: production, staging\n\s+Please specify with --env <name>/,
  },
  {
    title: "a second build, by the port of the server",
    args: ["deploy", "--env", "production", "--port", "{port}", "--quiet"],
    stdout: /✓ deployed to production/,
    stderr: "",
  },
  {
    title: "status shows endpoints with their workers",
    args: ["status", "-e", "production"],
    stdout: /^shop \/ production[^]*○|●|◐ double/,
  },
  {
    title: "status is the same however its app and server are named",
    args: "status --app shop --env production --target {url} --json".split(" "),
    json: ({ app, environment, endpoints }) => {
      assert.deepEqual([app, environment], ["shop", "production"]);
      const names = (endpoints as { name: string }[]).map(({ name }) => name);
      assert.deepEqual(names.sort(), ["box", "count", "double", "shelf"]);
    },
  },
  {
    title: "status in a terminal has colours",
    args: ["status", "-e", "production"],
    env: { NO_COLOR: "", CI: "" },
    terminal: [],
    // oxlint-disable-next-line no-control-regex -- colour codes begin with ESC
    stdout: /\u001B\[1mshop/,
  },
  {
    title: "status in a terminal without colours when NO_COLOR says so",
    args: ["status", "-e", "production"],
    terminal: [],
    stdout: /^shop \/ production/,
  },
  {
    title: "call runs a job and prints its result",
    args: ["call", "double", "--data", "21", "--timeout", "60", "-e", "production"],
    stdout: /^42\n$/,
    stderr: "",
  },
  {
    title: "call takes its data from stdin",
    args: ["call", "double", "-d", "@-", "-e", "production", ...SERVER],
    input: '{"value": 4}',
    stdout: /^8\n$/,
  },
  {
    title: "call prints a stream as it comes",
    args: ["call", "count", "-d", "2", "-e", "production"],
    stdout: /^\{"i":1\}\n\{"i":2\}\n$/,
  },
  {
    title: "call of a route, by method and path",
    args: ["call", "GET", "/items/7", "-e", "production"],
    stdout: /^\{\n {2}"id": 7,\n {2}"tags": \[\]\n\}\n$/,
  },
  {
    title: "call of a route of one endpoint, with the parameters as data",
    args: [
      "call",
      "shelf",
      "GET",
      "/items/{id}",
      "-d",
      '{"id":7,"tags":["a","b"]}',
      "-e",
      "production",
      "--json",
    ],
    json: ({ status, body }) => {
      assert.equal(status, 200);
      assert.deepEqual(body, { id: 7, tags: ["a", "b"] });
    },
  },
  {
    title: "call with a body means POST",
    args: ["call", "shelf", "/add", "-d", '{"x":1,"y":2}', "-e", "production"],
    stdout: /^3\n$/,
  },
  {
    title: "call of a function that throws ends with 1",
    args: ["call", "double", "-d", "-1", "-e", "production"],
    code: 1,
    stdout: "",
    stderr: /✗ double failed: negative\n\s+'flash jobs show double \S+'/,
  },
  {
    title: "call with a wrong input ends with 2 and shows a right one",
    args: ["call", "double", "-d", '"many"', "-e", "production"],
    code: 2,
    stdout: "",
    stderr: /must be a number[^]*A right one: --data '\{"value":1\}'/,
  },
  {
    title: "call of what does not exist suggests what does",
    args: ["call", "duble", "-e", "production"],
    code: 1,
    stderr: /no endpoint 'duble'\.\n\s+Did you mean 'double'\?/,
  },
  {
    title: "call --no-wait prints the id of the job",
    args: [
      "call",
      "double",
      "-d",
      "5",
      "--no-wait",
      "-e",
      "production",
      "--json",
      "--app",
      "shop",
      "--port",
      "{port}",
    ],
    json: ({ id }, { values }) => {
      values.job = String(id);
    },
  },
  {
    title: "jobs list shows what failed",
    args: ["jobs", "list", "double", "--state", "FAILED", "--limit", "10", "-e", "production"],
    stdout: /^\S+ {2}FAILED.*negative/,
  },
  {
    title: "jobs list by cause and key",
    args: "jobs list double --kind exit,signal --key nobody -e production".split(" "),
    stdout: "",
    stderr: /0 of 0 jobs of double/,
  },
  {
    title: "jobs list as JSON",
    args: ["jobs", "list", "double", "-e", "production", "--json"],
    json: (document) => assert.match(JSON.stringify(document), /COMPLETED/),
  },
  {
    title: "jobs show has one job",
    args: ["jobs", "show", "double", "{job}", "-e", "production", "--json"],
    json: ({ id }, { values }) => assert.equal(id, values.job),
  },
  {
    title: "jobs retry --all runs the failed ones again",
    args: ["jobs", "retry", "double", "--all", "-e", "production"],
    stdout: /✓ \d+ jobs? back in the queue/,
  },
  {
    title: "jobs retry --all of one cause and key",
    args: "jobs retry double --all --kind exit --key nobody -e production --json".split(" "),
    json: ({ moved }) => assert.equal(moved, 0),
  },
  {
    title: "jobs replay runs an input again, as JSON",
    args: ["jobs", "replay", "double", "{job}", "-e", "production", "--json"],
    json: ({ id, replayOf }, { values }) => {
      assert.equal(replayOf, values.job);
      assert.notEqual(id, replayOf);
    },
  },
  {
    title: "jobs replay tells the new job's id",
    args: ["jobs", "replay", "double", "{job}", "-e", "production"],
    stdout: /✓ \S+ is IN_QUEUE/,
  },
  {
    title: "jobs retry of one job, as JSON",
    args: ["jobs", "retry", "double", "none", "-e", "production", "--json"],
    code: 1,
    stdout: "",
    stderr: /"code":"JOB_NOT_FOUND"/,
  },
  {
    title: "jobs cancel of a job that is not there says so",
    args: ["jobs", "cancel", "double", "none", "-e", "production", "--json"],
    code: 1,
    stdout: "",
    stderr: /"code":"JOB_NOT_FOUND"/,
  },
  {
    title: "logs show what the function wrote",
    args: [
      "logs",
      "double",
      "--tail",
      "100",
      "--since",
      "1h",
      "--level",
      "info",
      "-e",
      "production",
    ],
    stdout: /doubling 21/,
  },
  {
    title: "logs --follow goes on until Ctrl-C, which is 130",
    args: ["logs", "-f", "-e", "production", "--json"],
    until: /doubling 21/,
    code: 130,
  },
  {
    title: "logs of one job, worker or request are those alone",
    args: [
      "logs",
      "double",
      "--job",
      "none",
      "--worker",
      "none",
      "--request",
      "none",
      "-e",
      "production",
    ],
    stdout: "",
  },
  {
    title: "logs of what does not exist suggest nothing silently",
    args: ["logs", "duble", "-e", "production"],
    code: 1,
    stdout: "",
    stderr: /duble/,
  },
  {
    title: "events tell what happened",
    args: ["events", "--since", "1h", "--tail", "50", "-e", "production"],
    stdout: /double/,
  },
  {
    title: "events of a kind, as JSON",
    args: ["events", "double", "--kind", "worker", "--tail", "1", "-e", "production", "--json"],
    json: ({ kind }) => assert.match(String(kind), /^worker\./),
  },
  {
    title: "events of one worker are those alone",
    args: ["events", "--worker", "none", "-e", "production"],
    stdout: "",
  },
  {
    title: "events --follow goes on until Ctrl-C",
    args: ["events", "--follow", "-e", "production"],
    until: /double/,
    code: 130,
  },
  {
    title: "scale explain tells why",
    args: ["scale", "explain", "double", "-e", "production"],
    stdout: /./,
  },
  {
    title: "scale explain as JSON",
    args: ["scale", "explain", "double", "-e", "production", "--json"],
    json: ({ decisions }) => assert.ok(Array.isArray(decisions)),
  },
  {
    title: "worker env gives the environment of one more container",
    args: ["worker", "env", "box", "--url", "http://10.0.0.5:4747", "-e", "production", "--json"],
    json: ({ worker, env }, { values }) => {
      values.worker = String(worker);
      assert.match(JSON.stringify(env), /10\.0\.0\.5/);
    },
  },
  {
    title: "worker remove voids it",
    args: ["worker", "remove", "box", "{worker}", "-e", "production", "--json"],
    json: ({ worker }, { values }) => assert.equal(worker, values.worker),
  },
  {
    title: "open prints where an endpoint is",
    args: ["open", "shelf", "--print", "-e", "production"],
    stdout: /^http:\/\/127\.0\.0\.1:\d+\/lb\/\w+\/openapi\.json\n$/,
  },
  {
    title: "open shows it in a browser when there is a terminal",
    args: ["open", "double", "-e", "production"],
    env: { BROWSER: "{browser}", CI: "", SSH_CONNECTION: "" },
    terminal: [],
    stdout: /\/v2\/\w+\/health/,
  },
  {
    title: "a changed project is a third release",
    args: ["deploy", "-e", "production"],
    stdout: /✓ deployed/,
  },
  {
    title: "rollback --list shows the releases",
    args: ["rollback", "--list", "-e", "production"],
    stdout: /^\d+ +\S+ +\S+ +active/,
  },
  {
    title: "rollback to a release by its number",
    args: ["rollback", "1", "-e", "production", "--json"],
    json: ({ environment }) => assert.equal(environment, "production"),
  },
  {
    title: "rollback goes back in one step",
    args: ["rollback", "-e", "production"],
    stdout: /✓ production runs the build of release \d again/,
  },
  {
    title: "undeploy needs to know what",
    args: ["undeploy", "-e", "production"],
    code: 2,
    stderr: /specify a name, use --all\/--interactive, or run flash undeploy list/,
  },
  {
    title: "undeploy list shows what could go",
    args: ["undeploy", "list", "-e", "production"],
    stdout: /^box [^]*double [^]*shelf /m,
  },
  {
    title: "undeploy asks, and no means no",
    args: ["undeploy", "count", "-e", "production"],
    terminal: [[/delete\? \[y\/N\] /, "n\r"]],
    stdout: /cancelled/,
  },
  {
    title: "undeploy removes one endpoint when a person says yes",
    args: ["undeploy", "count", "-e", "production"],
    terminal: [[/delete\? \[y\/N\] /, "y\r"]],
    stdout: /✓ deleted count/,
  },
  {
    title: "undeploy --cleanup-stale removes what answers no more: nothing here",
    args: ["undeploy", "--cleanup-stale", "-e", "production"],
    stdout: /no inactive endpoints/,
  },
  {
    title: "undeploy --interactive: space marks, Enter ends, and no means no",
    args: ["undeploy", "--interactive", "-e", "production"],
    terminal: [
      [/\[ \] shelf/, " "],
      [/\[x\] box/, "\r"],
      [/delete 1 endpoint\? \[y\/N\] /, "n\r"],
    ],
    stdout: /cancelled/,
  },
  {
    title: "undeploy without a terminal removes nothing",
    args: ["undeploy", "double", "-e", "production"],
    code: 2,
    stdout: "",
    stderr: /no terminal[^]*--force/,
  },
  {
    title: "undeploy --force asks nothing",
    args: ["undeploy", "double", "--force", "-e", "production", "--json"],
    json: ({ removed }) => assert.deepEqual(removed, ["double"]),
  },
  {
    title: "undeploy --all wants the phrase, and nothing else",
    args: ["undeploy", "--all", "-e", "staging"],
    terminal: [
      [/delete all 4 endpoints\? \[y\/N\] /, "y\r"],
      [/type 'DELETE ALL' to confirm: /, "delete all\r"],
    ],
    code: 1,
    stdout: /cancelled/,
  },
  {
    title: "undeploy --all removes the environment's endpoints",
    args: ["undeploy", "--all", "-e", "staging"],
    terminal: [
      [/delete all 4 endpoints\? \[y\/N\] /, "y\r"],
      [/type 'DELETE ALL' to confirm: /, "DELETE ALL\r"],
    ],
    stdout: /deleted 4\/4 endpoints|✓ deleted/,
  },
  {
    title: "undeploy --all --yes is for scripts",
    args: ["undeploy", "--all", "--yes", "-e", "production", "--json"],
    json: ({ removed }) => assert.ok(Array.isArray(removed)),
  },
];

export { editProject };
