/**
 * `flash deploy`: builds the project and makes it the active release of an environment. Whatever can
 * be wrong with app, environment, server or key is found before the build.
 */

import type { DeploymentDocument, EndpointDocument, PlanDocument } from "../../contract/control.ts";
import type { Manifest } from "../../contract/manifest.ts";
import { findEndpoint } from "../../contract/manifest.ts";
import { changesAnything } from "../../contract/plan.ts";
import { changesText, driftText } from "../changes.ts";
import type { CommandDefinition, Invocation } from "../command.ts";
import type { CompileOptions } from "../compile.ts";
import { columns, count, megabytes, seconds, type Output } from "../output.ts";
import { openProject, type Project } from "../project.ts";
import {
  chooseEnvironment,
  openDestination,
  TARGET_OPTIONS,
  type TargetOptions,
} from "../target.ts";
import { BUILD_OPTIONS } from "./build.ts";

export const deploy: CommandDefinition = {
  description:
    "Builds the project and makes it the active release of an environment. App and environment are created " +
    "when missing. Without a target it goes to the Flash server of this machine, which is started when it " +
    "does not run.",
  examples: [
    ["flash deploy", "to the server of this machine"],
    ["flash deploy --env staging", "to a separate environment"],
    ["flash deploy --target https://flash.example.com", "with FLASH_API_KEY"],
    ["flash deploy --plan", "what would change; changes nothing"],
    ["flash deploy --json", "names, ids, URLs and routes, for programs"],
  ],
  options: [
    ["--plan", "show what would change and what has drifted, and change nothing"],
    ...TARGET_OPTIONS,
    ...BUILD_OPTIONS,
  ],
  async run(invocation) {
    const { cwd, dotEnv, env, output, signal } = invocation;
    const options = invocation.options as Options;
    const isPlan = options.plan === true;
    const project = openProject({ cwd, env, app: options.app });
    const { cloud, isLocal } = await openDestination(invocation, project, { start: !isPlan });
    const choice = await chooseEnvironment(invocation, project, cloud);
    const { environment } = choice;
    if (!isPlan) announce({ project, ...choice }, output);

    const platform = await cloud.platform({ signal });
    const { compile } = await import("../compile.ts");
    const built = await compile(project, {
      options,
      dotEnv,
      output,
      signal,
      environment,
      platform,
    });
    const { artifact, manifest } = built;
    output.say(
      `${output.talkColors.green("✓")} built ${project.app}  ${count(manifest.endpoints.length, "endpoint")}, ${megabytes(artifact.bytes)}  ${seconds(built.tookMs)}`,
    );
    const target = { app: project.app, environment };
    if (isPlan) {
      const plan = await cloud.plan(artifact, target, { signal });
      output.document(plan);
      if (!output.json) printPlan(plan, artifact.bytes, output);
      return;
    }
    const started = performance.now();
    output.progress.show("deploying");
    const document = await cloud.deploy(artifact, target, {
      signal,
      onProgress: (message) => {
        output.say(message);
        output.progress.show("deploying");
      },
      onTransfer: (sent, bytes) => {
        const percent = Math.floor((100 * sent) / Math.max(1, bytes));
        output.progress.show(`uploading ${percent} %, ${megabytes(sent)} of ${megabytes(bytes)}`);
      },
    });
    output.progress.clear();
    output.document(document);
    if (changesAnything(document.changes)) {
      output.say(changesText(document.changes, output.talkColors));
    } else output.say("no changes");
    const took = seconds(performance.now() - started);
    output.print(
      `${output.colors.green("✓")} deployed to ${document.environment}  ${output.colors.dim(took)}`,
    );
    if (!output.json) await printEndpoints({ document, manifest, isLocal }, invocation);
  },
};

interface Options extends TargetOptions, CompileOptions {
  plan?: true;
}

function printPlan(plan: PlanDocument, bytes: number, output: Output): void {
  const { colors } = output;
  const { bold } = colors;
  const { app, environment, isNew, target, changes, drift, uploads, makesRelease } = plan;
  const { missingSecrets } = plan;
  const news = isNew ? "  (new)" : "";
  output.print(`${bold(app)} / ${bold(environment)}${news}  ${colors.dim(target)}`);
  output.print(changesText(changes, colors));
  if (drift.length > 0) output.print(`\n${bold("Drift")}\n${driftText(drift, colors)}`);
  if (missingSecrets.length > 0) {
    const rows = missingSecrets.map(({ secret, endpoint }) => `  ${secret}  (${endpoint})`);
    output.print(`\n${bold("Missing secrets")}: a deployment would be refused\n${rows.join("\n")}`);
    output.print(colors.dim("  flash secrets set <name>"));
  }
  const upload = uploads ? `build to upload: ${megabytes(bytes)}` : "nothing to upload";
  const release = makesRelease ? "a new release" : "no new release";
  output.print(`\n${changesAnything(changes) ? "" : "no changes; "}${upload}; ${release}`);
}

interface Choice {
  project: Project;
  environment: string;
  existing: readonly string[];
  hasApp: boolean;
}

/** Source of the texts: spec/cli.md 20. */
function announce({ project, environment, existing, hasApp }: Choice, output: Output): void {
  if (existing.includes(environment)) return;
  if (!hasApp) {
    output.say(`No app '${project.app}' found. Creating app and '${environment}' environment...`);
  } else if (existing.length === 0) {
    output.say(`No environments found. Creating '${environment}' environment...`);
  } else output.say(`Environment '${environment}' not found. Creating it...`);
}

interface Deployed {
  document: DeploymentDocument;
  manifest: Manifest;
  isLocal: boolean;
}

async function printEndpoints(deployed: Deployed, { output }: Invocation): Promise<void> {
  const { endpoints } = deployed.document;
  const groups = [
    ["Load-balanced endpoints:", endpoints.filter(({ kind }) => kind === "lb")],
    ["Queue-based endpoints:", endpoints.filter(({ kind }) => kind === "qb")],
  ] as const;
  for (const [title, members] of groups) {
    if (members.length === 0) continue;
    output.print(`\n${output.colors.bold(title)}`);
    for (const endpoint of members) output.print(endpointText(endpoint, output));
  }
  const { curlLines, LOCAL_KEY, REMOTE_KEY } = await import("../curl.ts");
  const key = deployed.isLocal ? LOCAL_KEY : REMOTE_KEY;
  const lines = endpoints.flatMap((endpoint) => {
    const declared = findEndpoint(deployed.manifest, endpoint.name);
    return declared === undefined ? [] : curlLines(endpoint, declared, key);
  });
  if (lines.length > 0) output.print(`\n${output.colors.bold("Try it:")}\n  ${lines.join("\n  ")}`);
}

function endpointText({ name, url, routes }: EndpointDocument, output: Output): string {
  const rows = routes.map(({ method, path }) => [method, path]);
  const list = rows.length === 0 ? "" : `\n${columns(rows, "    ")}`;
  return `  ${name}  ${output.colors.cyan(url)}${list}`;
}
