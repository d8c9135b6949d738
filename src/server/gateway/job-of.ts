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
  query,
}: {
  jobs: Jobs;
  endpoint: { row: EndpointRow };
  id: string;
  /** With `kept=true` a failed job is meant, too, whose result is over. Default: without. */
  query?: URLSearchParams;
}): Promise<Job> {
  const job = await jobs.get(id, { kept: asksForKept(query) });
  if (job === undefined || job.endpointId !== endpoint.row.id) throw unknownJob(id);
  return job;
}

/**
 * The header that says where a new job is. Not for what the platform answers too: its clients know.
 * Source: RFC 9110 10.2.2.
 */
export function locationOf(
  { endpoint }: { endpoint: { row: EndpointRow } },
  { id }: Job,
): { location: string } {
  return { location: `/v2/${endpoint.row.id}/status/${id}` };
}

/** Ours: the platform's clients never see a job whose result is over. */
export function asksForKept(query: URLSearchParams | undefined): boolean {
  return query?.get("kept") === "true";
}

export function unknownJob(id: string): FlashError {
  return new FlashError("JOB_NOT_FOUND", `There is no job '${id}'.`, {
    hint: "Results are dropped when their retention is over; '?kept=true' finds failed jobs for longer.",
  });
}
