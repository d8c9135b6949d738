/**
 * What a standby does before it is needed: it serves made-up endpoints from beginning to end, from
 * their manifest over the import of a bundle to the last answer. Everything a process does for the
 * first time takes several times as long as later; this was the first time. Nothing of it remains but
 * what V8 has learnt.
 *
 *   requests   of a load-balanced endpoint, over the request link and HTTP
 *   jobs       of a queue endpoint, over a job link
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MANIFEST_FILE, MANIFEST_VERSION, SDK_FILE } from "../../contract/manifest.ts";
import { registry } from "../../contract/registry.ts";
import { importDeclarations, openArtifact } from "../program.ts";
import type { Doors } from "../routes/doors.ts";
import { rehearseJobs } from "./jobs.ts";
import { rehearseRequests } from "./requests.ts";
import { ROUTE, type Rehearsed } from "./rehearsed.ts";
import type { SharedSdk } from "./shared-sdk.ts";

export interface Stage {
  /** A folder of this process alone. */
  folder: string;
  socketPath: string;
  runtimeUrl: string;
  sdk: SharedSdk;
}

const FUNCTION = {
  name: "rehearse",
  parameters: [
    { name: "text", schema: { type: "string" }, required: true, carrier: "value" },
    { name: "count", schema: { type: "number" }, required: true, carrier: "value" },
  ],
  returns: { type: "object" },
  streams: false,
  checked: true,
};

const ENDPOINTS = [
  {
    name: "routes",
    kind: "lb",
    form: "routes",
    functions: [{ ...FUNCTION, route: { method: "POST", path: ROUTE } }],
    code: `api.post("${ROUTE}", rehearse)`,
  },
  { name: "queue", kind: "qb", form: "function", functions: [FUNCTION], code: "api(rehearse)" },
];

const SOURCE_MAP = '{"version":3,"sources":["rehearsal.ts"],"names":[],"mappings":"AAAA"}';

/** Serves the made-up endpoints, behind these doors where they need any, and clears the stage. */
export async function rehearse(doors: Doors, stage: Stage): Promise<void> {
  const artifactDir = path.join(stage.folder, "rehearsal");
  writeArtifact(artifactDir);
  stage.sdk.standInFor(artifactDir);
  const open = async (endpoint: string): Promise<Rehearsed> => {
    const served = openArtifact({ artifactDir, endpoint, runtimeUrl: stage.runtimeUrl });
    return { served, declarations: await importDeclarations(served) };
  };
  try {
    await rehearseRequests(doors, stage.socketPath, await open("routes"));
    await rehearseJobs(await open("queue"));
  } finally {
    clearStage();
    doors.leadNowhere();
    rmSync(artifactDir, { recursive: true, force: true });
  }
}

function writeArtifact(folder: string): void {
  for (const { name, code } of ENDPOINTS) {
    const bundle = path.join(folder, bundleOf(name));
    mkdirSync(path.dirname(bundle), { recursive: true });
    writeFileSync(bundle, bundleText(name, code));
    writeFileSync(`${bundle}.map`, SOURCE_MAP);
  }
  const manifest = {
    version: MANIFEST_VERSION,
    builtWith: "0.0.0",
    endpoints: ENDPOINTS.map(({ name, kind, form, functions }) => ({
      name,
      kind,
      form,
      functions,
      options: { env: {}, executionTimeoutMs: 0, maxConcurrency: 1 },
      bundle: bundleOf(name),
      calls: [],
    })),
  };
  writeFileSync(path.join(folder, MANIFEST_FILE), JSON.stringify(manifest));
  // Only has to be there: the SDK that is loaded stands in for it.
  writeFileSync(path.join(folder, SDK_FILE), "");
}

function bundleOf(name: string): string {
  return `endpoints/${name}/index.mjs`;
}

function bundleText(name: string, code: string): string {
  return `import { Endpoint } from "../../${SDK_FILE}";
const rehearse = async (text, count) => ({ text, count });
const api = Endpoint({ name: "${name}", cpu: "cpu3c-1-2" });
export const rehearsed = ${code};
//# sourceMappingURL=index.mjs.map
`;
}

function clearStage(): void {
  const shared = registry();
  shared.mode = "script";
  shared.endpoint = undefined;
  shared.manifest = undefined;
  shared.declarations.length = 0;
}
