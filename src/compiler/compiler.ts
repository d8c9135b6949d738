/**
 * The compiler: a project's sources → manifest and artifact, or every mistake in them. It owns what
 * is found, described, checked and packed; deploying is another room's.
 *
 *   project          a build from end to end, and builds again after changes
 *   candidates       1  which files may declare endpoints
 *     ignore-rules      which files belong to the project
 *     editor-files      what editors leave beside sources
 *     imports           who imports whom, by text
 *   describer        2  what the project declares; after an edit, what the edit can reach
 *     describe-build    candidates as modules, for evaluation only
 *     describe          the processes that evaluate them
 *     describe-child    the program in that process
 *     describe-report   what it says
 *     stack             stacks → places in the sources
 *     endpoints         the report → names, files, options
 *     ignored-imports   shipped code must not import ignored files
 *   signatures       3  which signatures must be asked for again
 *     types/            signatures and schemas, by the TypeScript compiler
 *   check            4  rules over the whole project
 *   bundle           5  one module for each endpoint
 *     bundle-units      what goes into each
 *     assets            files that code reads from beside itself
 *   dependencies     6  which packages stay outside
 *     packages          installed for the workers' platform
 *     included          files that the project names itself
 *   manifest, pack   7  manifest, fingerprints, artifact
 *     gzip              one file of pieces that are compressed apart
 *     standard-schemas  schemas of the options in place of types
 *   live             a build as what live workers need: an artifact without code, and the code by itself
 *   explain          what makes endpoints large
 *   diagnostics      mistakes, their frames and their text
 *   esbuild-plugins  how imports resolve
 *   work-folder      what a build needs on disk while it lasts
 *   step-clock       how long each step took
 *   own-package      where the SDK and the worker runtime lie
 */

import { Project, type BuildRequest, type BuildResult } from "./project.ts";

export { isEditorFile } from "./editor-files.ts";
export { explainSizes, type EndpointSize, type SizePart } from "./explain.ts";
export { formatDiagnostics, frameOfStack, type Diagnostic } from "./diagnostics.ts";
export { liveBuild, type LiveBuild } from "./live.ts";
export { Project, type BuildRequest, type BuildResult } from "./project.ts";
export type { BuildStep } from "./step-clock.ts";
export { workFolderIn } from "./work-folder.ts";

/** Builds once. Throws `BUILD_FAILED`, with all mistakes in the message and in `details.diagnostics`. */
export async function buildProject(request: BuildRequest): Promise<BuildResult> {
  const project = new Project(request);
  try {
    return await project.build();
  } finally {
    await project.close();
  }
}
