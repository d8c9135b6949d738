/** Every command of `flash`, by name. A command's file is loaded only when it is used. */

import type { CommandEntry } from "./command.ts";

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "init",
    summary: "create a project from the template",
    load: async () => (await import("./commands/init.ts")).init,
  },
  {
    name: "run",
    alias: "dev",
    summary: "run the project here, reloading on every save",
    load: async () => (await import("./commands/run.ts")).run,
  },
  {
    name: "build",
    summary: "check and bundle the project",
    load: async () => (await import("./commands/build.ts")).build,
  },
  {
    name: "deploy",
    summary: "build the project and make it the active release",
    load: async () => (await import("./commands/deploy.ts")).deploy,
  },
  {
    name: "status",
    summary: "show what is deployed and how it does",
    load: async () => (await import("./commands/status.ts")).status,
  },
  {
    name: "call",
    summary: "call a deployed endpoint and print the result",
    load: async () => (await import("./commands/call.ts")).call,
  },
  {
    name: "logs",
    summary: "show what the workers wrote",
    load: async () => (await import("./commands/logs.ts")).logs,
  },
  {
    name: "events",
    summary: "show what happened to releases, endpoints and workers",
    load: async () => (await import("./commands/events.ts")).events,
  },
  {
    name: "undeploy",
    summary: "remove endpoints",
    load: async () => (await import("./commands/undeploy.ts")).undeploy,
  },
  {
    name: "rollback",
    summary: "make an earlier build active again",
    load: async () => (await import("./commands/rollback.ts")).rollback,
  },
  {
    name: "app",
    summary: "list, create, show and delete apps",
    examples: [
      ["flash app list", "what the server has"],
      ["flash app delete shop", "and all that belongs to it"],
    ],
    commands: [
      {
        name: "list",
        summary: "list the apps of the server",
        load: async () => (await import("./commands/app.ts")).appList,
      },
      {
        name: "create",
        summary: "register an app",
        load: async () => (await import("./commands/app.ts")).appCreate,
      },
      {
        name: "get",
        summary: "show an app with its environments and builds",
        load: async () => (await import("./commands/app.ts")).appGet,
      },
      {
        name: "delete",
        summary: "remove an app with all that belongs to it",
        load: async () => (await import("./commands/app.ts")).appDelete,
      },
    ],
  },
  {
    name: "env",
    summary: "list, create, show and delete environments",
    examples: [
      ["flash env list", "states and builds"],
      ["flash env delete staging", "with its endpoints"],
    ],
    commands: [
      {
        name: "list",
        summary: "list the environments of an app",
        load: async () => (await import("./commands/env.ts")).envList,
      },
      {
        name: "create",
        summary: "add an environment",
        load: async () => (await import("./commands/env.ts")).envCreate,
      },
      {
        name: "get",
        summary: "show an environment with its endpoints",
        load: async () => (await import("./commands/env.ts")).envGet,
      },
      {
        name: "delete",
        summary: "remove an environment with its endpoints",
        load: async () => (await import("./commands/env.ts")).envDelete,
      },
    ],
  },
  {
    name: "builds",
    summary: "see and remove the builds that the server keeps",
    examples: [
      ["flash builds list", "what is kept, why, and its size"],
      ["flash builds prune", "remove what no release needs"],
    ],
    commands: [
      {
        name: "list",
        summary: "list the builds of an app",
        load: async () => (await import("./commands/builds.ts")).buildsList,
      },
      {
        name: "prune",
        summary: "remove builds that no release can come back to",
        load: async () => (await import("./commands/builds.ts")).buildsPrune,
      },
    ],
  },
  {
    name: "scale",
    summary: "see why there are as many workers as there are",
    examples: [["flash scale explain user-service", "the newest decisions, with their inputs"]],
    commands: [
      {
        name: "explain",
        summary: "show the newest scaling decisions about an endpoint",
        load: async () => (await import("./commands/scale-explain.ts")).scaleExplain,
      },
    ],
  },
  {
    name: "jobs",
    summary: "look at jobs, run failed ones again, cancel",
    examples: [
      ["flash jobs list analyze --state FAILED", "those that failed for good"],
      ["flash jobs retry analyze --all", "and once more from the start"],
    ],
    commands: [
      {
        name: "list",
        summary: "list the jobs of a queue endpoint",
        load: async () => (await import("./commands/jobs.ts")).jobsList,
      },
      {
        name: "show",
        summary: "show one job",
        load: async () => (await import("./commands/jobs.ts")).jobsShow,
      },
      {
        name: "retry",
        summary: "run failed jobs again",
        load: async () => (await import("./commands/jobs.ts")).jobsRetry,
      },
      {
        name: "replay",
        summary: "run a job's input again, with the code of now",
        load: async () => (await import("./commands/jobs.ts")).jobsReplay,
      },
      {
        name: "cancel",
        summary: "cancel a job",
        load: async () => (await import("./commands/jobs.ts")).jobsCancel,
      },
    ],
  },
  {
    name: "token",
    summary: "print the key that opens the server",
    load: async () => (await import("./commands/token.ts")).token,
  },
  {
    name: "login",
    summary: "get a key for a remote server",
    load: async () => (await import("./commands/login.ts")).login,
  },
  {
    name: "logout",
    summary: "give that key up",
    load: async () => (await import("./commands/logout.ts")).logout,
  },
  {
    name: "keys",
    summary: "make, list and revoke keys",
    examples: [
      ["flash keys create ci --verbs deploy --app shop", "for a pipeline"],
      ["flash keys list", "who has one, and when it was last used"],
      ["flash keys revoke ci", "it opens nothing from then on"],
    ],
    commands: [
      {
        name: "create",
        summary: "make a key and print it, once",
        load: async () => (await import("./commands/keys.ts")).keysCreate,
      },
      {
        name: "list",
        summary: "list the keys",
        load: async () => (await import("./commands/keys.ts")).keysList,
      },
      {
        name: "revoke",
        summary: "void a key",
        load: async () => (await import("./commands/keys.ts")).keysRevoke,
      },
    ],
  },
  {
    name: "secrets",
    summary: "set, list and remove secrets of an environment",
    examples: [
      ["flash secrets set OPENAI_API_KEY", "asks for the value"],
      ["flash secrets list --env staging", "names only"],
    ],
    commands: [
      {
        name: "set",
        summary: "set a secret; its value comes from stdin or a prompt",
        load: async () => (await import("./commands/secrets.ts")).secretsSet,
      },
      {
        name: "list",
        summary: "list the names of secrets",
        load: async () => (await import("./commands/secrets.ts")).secretsList,
      },
      {
        name: "remove",
        summary: "remove a secret that no endpoint uses",
        load: async () => (await import("./commands/secrets.ts")).secretsRemove,
      },
      {
        name: "rotate-key",
        summary: "seal all secrets with a new master key",
        load: async () => (await import("./commands/secrets.ts")).secretsRotateKey,
      },
    ],
  },
  {
    name: "audit",
    summary: "show who changed what",
    load: async () => (await import("./commands/audit.ts")).audit,
  },
  {
    name: "worker",
    summary: "bring workers of your own to an endpoint with an image",
    examples: [
      ["flash worker env whisper", "the environment of one more container"],
      ["flash worker remove whisper k3v9x2m1q7ab", "before it is stopped for good"],
    ],
    commands: [
      {
        name: "env",
        summary: "print the environment of a worker that you start",
        load: async () => (await import("./commands/worker-env.ts")).workerEnv,
      },
      {
        name: "remove",
        summary: "let such a worker finish, and void its key",
        load: async () => (await import("./commands/worker-remove.ts")).workerRemove,
      },
    ],
  },
  {
    name: "config",
    summary: "print every setting with its origin",
    load: async () => (await import("./commands/config.ts")).config,
  },
  {
    name: "doctor",
    summary: "check this machine, this project and its server",
    load: async () => (await import("./commands/doctor.ts")).doctor,
  },
  {
    name: "open",
    summary: "open the pages of a project or an endpoint in a browser",
    load: async () => (await import("./commands/open.ts")).open,
  },
  {
    name: "explain",
    summary: "explain an error code",
    load: async () => (await import("./commands/explain.ts")).explain,
  },
  {
    name: "update",
    summary: "install another version of Flash",
    load: async () => (await import("./commands/update.ts")).update,
  },
  {
    name: "completion",
    summary: "print a completion script for a shell",
    load: async () => (await import("./commands/completion.ts")).completion,
  },
  {
    name: "server",
    summary: "start and stop the Flash server on this machine",
    examples: [
      ["flash server start", "start it on port 4747"],
      ["flash server status --json", "where it is, for programs"],
      ["flash server stop", "stop it"],
    ],
    commands: [
      {
        name: "start",
        summary: "start the server, in the background unless told otherwise",
        load: async () => (await import("./commands/server-start.ts")).serverStart,
      },
      {
        name: "stop",
        summary: "stop the server and its workers",
        load: async () => (await import("./commands/server-stop.ts")).serverStop,
      },
      {
        name: "status",
        summary: "say whether the server runs, and where",
        load: async () => (await import("./commands/server-status.ts")).serverStatus,
      },
      {
        name: "unit",
        summary: "print a systemd unit for the server",
        load: async () => (await import("./commands/server-unit.ts")).serverUnit,
      },
    ],
  },
];
