/** The job that a path names. */

import { FlashError } from "../../contract/errors.ts";
import type { Job } from "../../contract/job.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Jobs } from "../jobs/jobs.ts";

/** A job of another endpoint does not exist here. */
export async function jobOf({
  jobs,
  endpoint,
  id,
}: {
  jobs: Jobs;
  endpoint: { row: EndpointRow };
  id: string;
}): Promise<Job> {
  const job = await jobs.get(id);
  if (job === undefined || job.endpointId !== endpoint.row.id) throw unknownJob(id);
  return job;
}

export function unknownJob(id: string): FlashError {
  return new FlashError("JOB_NOT_FOUND", `There is no job '${id}'.`, {
    hint: "Results are dropped when their retention is over.",
  });
}
