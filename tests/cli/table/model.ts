/** Rows about apps, environments, builds and plans, while production and staging are deployed. */

import assert from "node:assert/strict";
import type { Case } from "./case.ts";

export const MODEL_CASES: readonly Case[] = [
  {
    title: "deploy --plan shows what would change, and changes nothing",
    args: ["deploy", "--plan", "--env", "qa"],
    stdout: /qa[^]*double/,
    effect: async ({ flash }) => {
      assert.doesNotMatch((await flash("env", "list", "--app", "shop")).stdout, /qa/);
    },
  },
  {
    title: "deploy --plan as JSON",
    args: ["deploy", "--plan", "--env", "production", "--json"],
    json: ({ app, changes }) => {
      assert.equal(app, "shop");
      assert.ok(Array.isArray(changes));
    },
  },
  { title: "app list", args: ["app", "list"], stdout: /shop +2 envs +\d+ builds?/ },
  {
    title: "app list as JSON",
    args: ["app", "list", "--json"],
    json: ({ apps }) => assert.ok(Array.isArray(apps)),
  },
  { title: "app create", args: ["app", "create", "spare"], stdout: /✓ created app spare/ },
  {
    title: "app create as JSON",
    args: ["app", "create", "spare2", "--json"],
    json: (document) => assert.match(JSON.stringify(document), /spare2/),
  },
  { title: "app get", args: ["app", "get", "shop"], stdout: /shop[^]*production[^]*staging/ },
  {
    title: "app get of this project, as JSON",
    args: ["app", "get", "--json"],
    json: (document) => assert.match(JSON.stringify(document), /production/),
  },
  {
    title: "app get of an unknown one",
    args: ["app", "get", "nope"],
    code: 1,
    stdout: "",
    stderr: /nope/,
  },
  {
    title: "app delete wants its name typed",
    args: ["app", "delete", "spare"],
    terminal: [[/to confirm: /, "other\r"]],
    code: 1,
    stdout: /cancelled/,
  },
  { title: "app delete --yes", args: ["app", "delete", "spare", "--yes"], stdout: /✓ deleted app/ },
  {
    title: "app delete --force as JSON",
    args: ["app", "delete", "spare2", "--force", "--json"],
    json: (document) => assert.ok(document),
  },
  {
    title: "env list shows states and builds",
    args: ["env", "list", "--app", "shop"],
    stdout: /^shop\n {2}production +deployed +build_[^]*staging/,
  },
  {
    title: "env list as JSON",
    args: ["env", "list", "--json"],
    json: ({ environments }) => assert.equal((environments as unknown[]).length, 2),
  },
  { title: "env create", args: ["env", "create", "qa"], stdout: /✓ created environment qa/ },
  {
    title: "env create as JSON",
    args: ["env", "create", "qa2", "--json"],
    json: (document) => assert.match(JSON.stringify(document), /qa2/),
  },
  {
    title: "env get of one that was never deployed",
    args: ["env", "get", "qa"],
    stdout: /shop \/ qa[^]*no resources\. run flash deploy --env qa/,
  },
  {
    title: "env get as JSON",
    args: ["env", "get", "production", "--json"],
    json: ({ name, state }) => assert.deepEqual([name, state], ["production", "DEPLOYED"]),
  },
  {
    title: "env delete asks, and no means no",
    args: ["env", "delete", "qa"],
    terminal: [[/are you sure\? this will delete all resources in 'qa' \[y\/N\] /, "n\r"]],
    stdout: /cancelled/,
  },
  {
    title: "env delete without a terminal deletes nothing",
    args: ["env", "delete", "qa"],
    code: 2,
    stdout: "",
    stderr: /no terminal[^]*--yes/,
  },
  {
    title: "env delete --yes",
    args: ["env", "delete", "qa", "--yes"],
    stdout: /✓ deleted environment qa/,
  },
  {
    title: "env delete --force as JSON",
    args: ["env", "delete", "qa2", "--force", "--json"],
    json: (document) => assert.ok(document),
  },
  { title: "builds list", args: ["builds", "list"], stdout: /build_\w+ [^]*builds?, / },
  {
    title: "builds list as JSON",
    args: ["builds", "list", "--json"],
    json: ({ builds }) => assert.ok((builds as unknown[]).length > 0),
  },
  { title: "builds prune", args: ["builds", "prune"], stdout: /nothing to remove|✓ removed/ },
  {
    title: "builds prune as JSON",
    args: ["builds", "prune", "--json"],
    json: ({ builds }) => assert.ok(Array.isArray(builds)),
  },
];
