/**
 * The public name of the job class, whose file loads with the first call. Bundlers split by file: if
 * `sdk.ts` exported from that file itself, it would load at once, whether the name is used or not.
 */

import { EndpointJob as LazyJob } from "./job.ts";

export const EndpointJob = LazyJob;
export type EndpointJob<T = unknown> = LazyJob<T>;
