/** Rows about this machine and its server: server, token, keys, secrets, doctor, update and the like. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import type { Case } from "./case.ts";

export const FIRST_CASES: readonly Case[] = [
  {
    title: "status without a server says how to start one",
    args: ["status"],
    code: 4,
    stdout: "",
    stderr: /No Flash server runs[^]*flash server start/,
  },
  {
    title: "server status without a server is no failure",
    args: ["server", "status", "--json"],
    json: ({ running }) => assert.equal(running, false),
  },
  {
    title: "server start in the foreground runs until it is stopped",
    args: "server start --foreground --port {free} --host 127.0.0.1 --durability relaxed --private-webhooks --keep-releases 5 --keep-failed 0.5 --rate-limits --queue-limit 10,100 --cors https://app.example.com,local --json".split(
      " ",
    ),
    until: /"started"/,
    json: ({ started }) => assert.equal(started, true),
    effect: ({ home }) => assert.ok(!existsSync(path.join(home, "server.json"))),
  },
  {
    title: "server start in the background waits until it is ready",
    args: ["server", "start", "--port", "{port}"],
    stdout: /✓ the Flash server runs at http:\/\/127\.0\.0\.1:\d+\n\s+home/,
  },
  {
    title: "server start again changes nothing",
    args: ["server", "start", "--json"],
    json: ({ started }) => assert.equal(started, false),
  },
  {
    title: "server status says where it runs",
    args: ["server", "status"],
    stdout: /✓ running at http[^]*version[^]*process/,
  },
  {
    title: "status of what is not deployed says how",
    args: ["status"],
    code: 1,
    stdout: "",
    stderr: /flash deploy/,
  },
];

export const MACHINE_CASES: readonly Case[] = [
  { title: "token prints the key", args: ["token"], stdout: /^flash_\S+\n$/ },
  {
    title: "server unit prints a systemd unit",
    args: ["server", "unit"],
    stdout:
      /^\[Unit\][^]*ExecStart=\S+ \S+ server start --foreground --port 4747\n[^]*DynamicUser=yes/,
  },
  {
    title: "server unit of a user, a folder, an address and a port",
    args: "server unit --user www --home /srv/flash --host 0.0.0.0 --port 5000 --json".split(" "),
    json: ({ unit }) => {
      assert.match(String(unit), /User=www\nReadWritePaths=\/srv\/flash/);
      assert.match(String(unit), /--port 5000 --host 0\.0\.0\.0/);
    },
  },
  {
    title: "token as JSON",
    args: ["token", "--json"],
    json: ({ key }) => assert.match(String(key), /^flash_/),
  },
  {
    title: "keys create prints a key once",
    args: "keys create ci --verbs read,call --app shop --env production --endpoint double --expires 12h --json".split(
      " ",
    ),
    json: ({ name, key }) => {
      assert.equal(name, "ci");
      assert.ok(key);
    },
  },
  {
    title: "keys list",
    args: ["keys", "list", "--json"],
    json: ({ keys }) => assert.ok(Array.isArray(keys)),
  },
  {
    title: "keys revoke",
    args: ["keys", "revoke", "ci", "--json"],
    json: ({ name }) => assert.equal(name, "ci"),
  },
  {
    title: "secrets set reads stdin",
    args: "secrets set TABLE_SECRET -e production --json".split(" "),
    input: "sesame\n",
    json: (document) => assert.ok(!JSON.stringify(document).includes("sesame")),
  },
  {
    title: "secrets set says how a secret is named",
    args: "secrets set a-b -e production".split(" "),
    input: "sesame\n",
    code: 2,
    stderr: /must be written like a variable[^]*OPENAI_API_KEY/,
  },
  {
    title: "secrets set takes no value as an argument, and does not repeat it",
    args: "secrets set TABLE_SECRET=sesame -e production".split(" "),
    code: 2,
    stderr:
      /^(?!.*sesame).*value of TABLE_SECRET cannot be an argument[^]*'flash secrets set TABLE_SECRET'/,
  },
  {
    title: "secrets set says how large a secret may be",
    args: "secrets set TABLE_SECRET -e production".split(" "),
    input: "x".repeat(2 * 1024 * 1024),
    code: 2,
    stderr: /larger than a secret may be[^]*32768 bytes/,
  },
  {
    title: "secrets list never shows values",
    args: "secrets list -e production --json".split(" "),
    json: (document) => {
      assert.match(JSON.stringify(document), /TABLE_SECRET/);
      assert.ok(!JSON.stringify(document).includes("sesame"));
    },
  },
  {
    title: "secrets rotate-key",
    args: ["secrets", "rotate-key", "--json"],
    json: ({ sealed }) => assert.ok(Number(sealed) >= 1),
  },
  {
    title: "secrets remove",
    args: "secrets remove TABLE_SECRET -e production --json".split(" "),
    json: ({ name }) => assert.equal(name, "TABLE_SECRET"),
  },
  {
    title: "audit tells who changed what",
    args: "audit --app shop --env production --limit 100 --json".split(" "),
    json: ({ entries }) => assert.ok((entries as unknown[]).length > 0),
  },
  {
    title: "doctor finds a machine that works",
    args: ["doctor", "--json"],
    json: ({ healthy, findings }) => {
      assert.equal(healthy, true, JSON.stringify(findings));
      const checks = new Set((findings as { check: string }[]).map(({ check }) => check));
      for (const check of ["node", "compiler", "home", "disk speed", "server", "key"]) {
        assert.ok(checks.has(check), check);
      }
    },
  },
  {
    title: "doctor finds a wrong key, says what to do, and ends with 1",
    args: ["doctor"],
    env: { FLASH_API_KEY: "wrong" },
    code: 1,
    stdout:
      /✗ key +failed +.*does not accept the key\..*\n\s+Run 'flash login', or set FLASH_API_KEY/,
    stderr: /1 check failed/,
  },
  {
    title: "login to a server that does not answer",
    args: "login --target http://127.0.0.1:9 --no-open --timeout 1 --force --json".split(" "),
    code: 4,
    stdout: "",
    stderr: /"code":"SERVER_NOT_RUNNING"/,
  },
  {
    title: "login approve of a code that nobody waits for",
    args: "login approve BCDF-2346 --yes --verbs read --app shop --env production --expires 1h".split(
      " ",
    ),
    code: 1,
    stdout: "",
    stderr: /✗/,
  },
  {
    title: "login --deny of a code that nobody waits for",
    args: ["login", "approve", "BCDF-2346", "--deny"],
    code: 1,
    stdout: "",
    stderr: /✗/,
  },
  {
    title: "logout of where nobody is logged in is no failure",
    args: ["logout", "--target", "http://127.0.0.1:9", "--json"],
    json: ({ loggedOut }) => assert.equal(loggedOut, false),
  },
  {
    title: "server start with certificate files that are not there",
    args: "server start --foreground --port 0 --tls-cert no.pem --tls-key no.key --public-url https://flash.example.com --trust-proxy".split(
      " ",
    ),
    env: { FLASH_HOME: "{otherHome}" },
    code: 2,
    stdout: "",
    stderr: /no\.(pem|key) cannot be read/,
  },
  {
    title: "server start with memory that no worker could live in",
    args: ["server", "start", "--foreground", "--port", "0", "--worker-memory", "2GB"],
    env: { FLASH_HOME: "{otherHome}" },
    code: 2,
    stdout: "",
    stderr: /--worker-memory takes whole MiB from 64, got '2GB'/,
  },
  {
    title: "doctor finds a server that does not answer",
    args: ["doctor", "--target", "http://127.0.0.1:9", "--app", "shop", "--env", "production"],
    code: 1,
    stdout: /✗ server +failed +No Flash server answers/,
  },
  {
    title: "doctor finds another program on the port",
    args: ["doctor", "--port", "{taken}"],
    env: { FLASH_HOME: "{otherHome}" },
    code: 1,
    stdout: /✗ server +failed .*uses port/,
  },
  {
    title: "explain tells why and what to do",
    args: ["explain", "NO_WORKER"],
    stdout: /^NO_WORKER {2}No worker[^]*- 'flash scale explain[^]*exit code 4/,
  },
  {
    title: "explain as JSON",
    args: ["explain", "no-worker", "--json"],
    json: ({ code, exit, fix }) => {
      assert.deepEqual([code, exit], ["NO_WORKER", 4]);
      assert.ok((fix as string[]).length > 0);
    },
  },
  {
    title: "explain of an unknown code suggests one",
    args: ["explain", "NO_WROKER"],
    code: 1,
    stderr: /Did you mean NO_WORKER\?/,
  },
  { title: "explain lists all codes", args: ["explain"], stdout: /^INVALID_INPUT [^]*INTERNAL/ },
  {
    title: "open without an endpoint is the API of the server",
    args: ["open", "--print", "--target", "{url}", "--json"],
    json: ({ url, opened }, world) => {
      assert.equal(url, `${world.url}/api/v1/openapi.json`);
      assert.equal(opened, false);
    },
  },
  {
    title: "completion for bash",
    args: ["completion", "bash"],
    stdout: /complete -o default -F _flash flash/,
  },
  { title: "completion for zsh", args: ["completion", "zsh"], stdout: /^#compdef flash/ },
  {
    title: "completion for fish as JSON",
    args: ["completion", "fish", "--json"],
    json: ({ script }) => assert.match(String(script), /complete -c flash/),
  },
  {
    title: "completion names what the server knows",
    args: ["completion", "--names", "apps", "--json"],
    json: ({ names }) => assert.ok(Array.isArray(names)),
  },
  {
    title: "completion of other names says which there are",
    args: ["completion", "--names", "secrets"],
    code: 2,
    stderr: /--names is one of apps, environments, endpoints/,
  },
  {
    title: "completion for another shell suggests one",
    args: ["completion", "fich"],
    code: 2,
    stderr: /no completion for 'fich'\.\n\s+Did you mean fish\?/,
  },
  {
    title: "update of a checkout says why not",
    args: ["update"],
    env: { npm_config_registry: "{registry}" },
    code: 1,
    stdout: "",
    stderr: /Current version: [^]*Checking npm[^]*was not installed by a package manager/,
  },
  {
    title: "update to the version there is does nothing",
    args: ["update", "--version", "{version}", "--json"],
    env: { npm_config_registry: "{registry}" },
    json: ({ updated }) => assert.equal(updated, false),
  },
  {
    title: "update to a version that does not exist",
    args: ["update", "-V", "77.0.0"],
    env: { npm_config_registry: "{registry}" },
    code: 1,
    stderr: /version 77\.0\.0 not found on npm/,
  },
  {
    title: "update without a network",
    args: ["update"],
    env: { npm_config_registry: "http://127.0.0.1:9" },
    code: 4,
    stderr: /Could not reach npm\. Check your network connection\./,
  },
];

export const LAST_CASES: readonly Case[] = [
  {
    title: "server stop ends it",
    args: ["server", "stop"],
    stdout: /✓ stopped the Flash server/,
    effect: ({ home }) => assert.ok(!existsSync(path.join(home, "server.json"))),
  },
  {
    title: "server stop without a server is no failure",
    args: ["server", "stop", "--json"],
    json: ({ stopped }) => assert.equal(stopped, false),
  },
];
