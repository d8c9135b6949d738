/** The platform of this process, as packages are built for. */

import type { WorkerPlatform } from "../contract/platform.ts";

let known: WorkerPlatform | undefined;

export function thisPlatform(): WorkerPlatform {
  known ??= { os: process.platform, cpu: process.arch, libc: libcOf() };
  return known;
}

function libcOf(): WorkerPlatform["libc"] {
  if (process.platform !== "linux") return null;
  const report: NodeJS.ProcessReport & { excludeNetwork?: boolean } = process.report;
  // Otherwise the report asks for the names of all interfaces, which takes its time.
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime === undefined ? "musl" : "glibc";
}
