/** flash.toml: what it means, and what is said about mistakes in it. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv } from "ajv";
import { parse as parseToml } from "smol-toml";
import { configSchema, OVERRIDABLE } from "../../src/cli/config-schema.ts";
import { overridesOf, parseConfig } from "../../src/cli/config.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { OPTION_NAMES } from "../../src/contract/options.ts";

function mistakesOf(text: string): { line: number; message: string; hint?: string }[] {
  try {
    parseConfig(text);
  } catch (error) {
    assert.ok(FlashError.is(error));
    assert.equal(error.code, "INVALID_CONFIG");
    return error.details?.diagnostics as { line: number; message: string; hint?: string }[];
  }
  assert.fail("the file was accepted");
}

test("every section has its meaning", () => {
  const config = parseConfig(`
[app]
name = "shop"
[deploy]
target = "https://flash.example.com"
environment = "staging"
[build]
include = ["data/", "*.sql"]
[endpoints.user-service]
workers = [1, 5]
idleTimeoutS = 30
env = { LOG_LEVEL = "debug" }
[endpoints."v1.model"]
image = "acme/model:2"
gpu = ["ADA_24", "NVIDIA L4"]
`);
  assert.deepEqual(config, {
    app: "shop",
    target: "https://flash.example.com",
    environment: "staging",
    include: ["data/", "*.sql"],
    endpoints: {
      "user-service": { workers: [1, 5], idleTimeoutS: 30, env: { LOG_LEVEL: "debug" } },
      "v1.model": { image: "acme/model:2", gpu: ["ADA_24", "NVIDIA L4"] },
    },
    environments: {},
  });
});

test("an empty file means nothing", () => {
  assert.deepEqual(parseConfig(""), { endpoints: {}, environments: {} });
});

test("options may be written in snake_case, constants by their name", () => {
  const { endpoints } = parseConfig(`
[endpoints.model]
gpu = "NVIDIA_A100_80GB_PCIe"
idle_timeout_s = 5
execution_timeout_ms = 9000
max_concurrency = 2
template = { container_disk_in_gb = 20, docker_args = "-x" }
volume = { name = "data", size = 20 }
`);
  assert.deepEqual(endpoints.model, {
    gpu: "NVIDIA A100 80GB PCIe",
    idleTimeoutS: 5,
    executionTimeoutMs: 9000,
    maxConcurrency: 2,
    template: { containerDiskInGb: 20, dockerArgs: "-x" },
    volume: { name: "data", size: 20 },
  });
});

const LAYERS = `
[endpoints."*"]
idle_timeout_s = 30
env = { A = "all", B = "all" }
[endpoints.api]
workers = [1, 5]
gpu = "ADA_24"
env = { B = "api" }
[env.staging]
target = "https://staging.example.com"
[env.staging.endpoints."*"]
workers = 2
[env.staging.endpoints.api]
cpu = "cpu3c-1-2"
env = { C = "staging" }
`;

describe("per app, environment and endpoint", () => {
  test("what is said for an environment wins, then for one endpoint, then for all", () => {
    const config = parseConfig(LAYERS);
    assert.deepEqual(overridesOf(config)("api"), {
      idleTimeoutS: 30,
      workers: [1, 5],
      gpu: "ADA_24",
      env: { A: "all", B: "api" },
    });
    assert.deepEqual(overridesOf(config, "staging")("api"), {
      idleTimeoutS: 30,
      workers: 2,
      cpu: "cpu3c-1-2",
      env: { A: "all", B: "api", C: "staging" },
    });
    assert.deepEqual(overridesOf(config, "production")("other"), {
      idleTimeoutS: 30,
      env: { A: "all", B: "all" },
    });
    assert.equal(config.environments.staging?.target, "https://staging.example.com");
  });

  test("names that no table has mean nothing, inherited ones neither", () => {
    const config = parseConfig("[endpoints.api]\nworkers = 1\n");
    assert.equal(overridesOf(config, "toString")("constructor"), undefined);
  });

  test("mistakes in an environment have their line", () => {
    const found = mistakesOf(`[env.staging]
tagret = "x"
[env.staging.endpoints.api]
workers = [3, 1]
wrokers = 2
`);
    assert.deepEqual(
      found.map(({ line, message, hint }) => `${line} ${message} | ${hint ?? ""}`),
      [
        "2 unknown key 'tagret' in [env.staging] | Did you mean 'target'?",
        "5 unknown key 'wrokers' in [env.staging.endpoints.api] | Did you mean 'workers'?",
        "4 workers min (3) cannot exceed max (1) | ",
      ],
    );
  });
});

describe("the schema for editors", () => {
  const validate = new Ajv({ strict: false }).compile(configSchema());
  const fits = (text: string): boolean => validate(JSON.parse(JSON.stringify(parseToml(text))));

  for (const text of [
    "",
    LAYERS,
    '[app]\nname = "shop"\n[build]\ninclude = ["data/"]\n',
    '[endpoints.model]\ngpu = "NVIDIA_A100_80GB_PCIe"\nmax_concurrency = 2\ndatacenter = "eu_ro_1"\n',
    '[endpoints.model]\ntemplate = { container_disk_in_gb = 20 }\nvolume = [{ name = "d", size = 20 }]\n',
  ]) {
    test(`accepts what the command accepts: ${JSON.stringify(text.slice(0, 40))}`, () => {
      parseConfig(text);
      assert.ok(fits(text), JSON.stringify(validate.errors));
    });
  }

  for (const text of [
    "[app]\nnmae = 1\n",
    "[endpoints.api]\nwrokers = 1\n",
    '[endpoints.api]\nworkers = "many"\n',
    '[endpoints.api]\ngpu = "H9000"\n',
    "[endpoints.api]\nidle_timeout_s = 0\n",
    "[env.staging]\ntagret = 1\n",
    '[env.staging.endpoints.api]\nname = "x"\n',
    "[endpoints.api.env]\nPORT = 80\n",
  ]) {
    test(`refuses what the command refuses: ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseConfig(text));
      assert.ok(!fits(text));
    });
  }

  test("knows every option of the code but those that only code can have", () => {
    const names = OPTION_NAMES.filter((one) => !["name", "id", "input", "output"].includes(one));
    assert.deepEqual([...OVERRIDABLE].sort(), [...names].sort());
  });
});

describe("mistakes", () => {
  test("unknown keys of every level are reported together, each with its line and a suggestion", () => {
    const found = mistakesOf(`[app]
nmae = "shop"

[deplyo]
target = "x"

# a comment
[endpoints.api]
workers = 3
idle_timout_s = 5
nonsense = true
`);
    assert.deepEqual(
      found.map(({ line, message, hint }) => `${line} ${message} | ${hint ?? ""}`),
      [
        "4 unknown key 'deplyo' in flash.toml | Did you mean 'deploy'?",
        "2 unknown key 'nmae' in [app] | Did you mean 'name'?",
        "10 unknown key 'idle_timout_s' in [endpoints.api] | Did you mean 'idleTimeoutS'?",
        `11 unknown key 'nonsense' in [endpoints.api] | ${found[3]?.hint ?? ""}`,
      ],
    );
    assert.match(found[3]?.hint ?? "", /^Known keys: image, gpu, /);
  });

  test("the text shows the line itself", () => {
    assert.throws(() => parseConfig('[app]\nnmae = "shop"\n'), {
      message: /^flash\.toml:2: unknown key 'nmae' in \[app\]\n {4}2 \| nmae = "shop"/,
    });
  });

  test("wrong values have the texts that wrong options in code have", () => {
    const found = mistakesOf(`[endpoints.api]
workers = [5, 1]
cpu = "cpu9"
idle_timeout_s = 0
[endpoints.api.env]
PORT = 80
`);
    assert.deepEqual(
      found.map(({ line, message }) => `${line} ${message}`),
      [
        "3 'cpu9' is not a valid CpuInstanceType",
        "2 workers min (5) cannot exceed max (1)",
        "4 idleTimeout must be between 1 and 3600 seconds",
        "5 env.PORT must be a string, got number",
      ],
    );
  });

  test("an endpoint keeps its name and its code: neither can be set here", () => {
    const found = mistakesOf('[endpoints.api]\nname = "other"\nid = "abc"\n');
    assert.deepEqual(
      found.map(({ line }) => line),
      [2, 3],
    );
  });

  test("the same option under two names is a mistake, not a race", () => {
    const [found] = mistakesOf("[endpoints.api]\nidleTimeoutS = 1\nidle_timeout_s = 2\n");
    assert.equal(found?.line, 3);
    assert.match(found?.message ?? "", /same option/);
  });

  test("tables and texts must be what they are", () => {
    const found = mistakesOf('app = "shop"\n[deploy]\ntarget = ""\n[endpoints]\napi = 1\n');
    assert.deepEqual(
      found.map(({ line }) => line),
      [1, 3, 5],
    );
  });

  test("names that cannot be are refused where they are written", () => {
    const [found] = mistakesOf('[app]\nname = "my app"\n');
    assert.equal(found?.line, 2);
  });

  test("a syntax error has line and column", () => {
    assert.throws(() => parseConfig('[app]\nname = "shop\n'), {
      code: "INVALID_CONFIG",
      message: /^flash\.toml:2:\d+: /,
    });
  });
});
