/**
 * The same server as in production, with the project's newest good build deployed on it.
 *
 * Invariants:
 *   1. What is served is always a build that was whole: a failed build or deployment changes nothing.
 *   2. One build at a time; what is saved meanwhile is built after it.
 */

import { mkdir } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { Duplex } from "node:stream";
import { Project, formatDiagnostics, type Diagnostic } from "../compiler/compiler.ts";
import type { Artifact } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import { createLog, type Log } from "../kit/log.ts";
import { FlashServer, ProcessCompute, SqliteStore } from "../server/server.ts";
import type { FrontEngine, Served } from "./front.ts";

/** The one environment of a dev server. */
export const DEV_ENVIRONMENT = "dev";

export interface EngineOptions {
  root: string;
  app: string;
  home: string;
  version: string;
}

export type BuildResult =
  | { kind: "served"; served: Served; tookMs: number }
  | { kind: "failed"; error: FlashError; text: string };
