/**
 * Front door of the package: what user code imports. The room owns declaring endpoints, calling
 * them wherever they are, and `context()`; it does not serve and does not build. It loads in
 * browsers too, so nothing here imports a module of Node.
 *
 * Declaring is synchronous and loads at once:
 *
 *   endpoint     Endpoint: queue functions, classes, routes
 *   client       Endpoint({ id }), Endpoint({ image })
 *   remote       remote(), for the resources of the older surface
 *   resources    LiveLoadBalancer, LoadBalancerSlsResource …
 *   models       NetworkVolume, PodTemplate
 *   declare      what a declaring call writes to the registry
 *   describing   nothing is called while the compiler looks
 *   functions    what user code gets back for its functions and classes
 *   live-route   routes of Live resources
 *   callable     objects that are called like functions
 *   types        types of all of these
 *   configure    configure(), for places without environment variables
 *   context      context()
 *   attempts     stop(), retryIn()
 *   where        where()
 *   endpoint-job the public name of EndpointJob
 *
 * What runs calls loads with the first one, so that declaring stays small in a browser:
 *
 *   dispatch     decides where a call runs, and runs it there
 *   place        where a call runs
 *   test-runner  whether this process runs tests
 *   in-process   running a function here
 *   local-job    a job that runs here
 *   client-calls what a client's methods do
 *   job          EndpointJob
 *   failure      why a job did not complete
 *   calls        calls to deployed routes and functions
 *   live-calls   calls to live workers, by way of `flash run --remote`
 *   directory    how deployed endpoints bind their calls
 *   jobs         the job API
 *   connection   servers, keys, names
 *   exchange     one HTTP exchange
 *   answer       the value that an answer carries
 *   events       streams of deployed routes
 *   deploy       resource.deploy()
 *   environment  variables, files, Node's modules
 *   secret       references to secrets
 *   pause        waiting between looks, failures that pass
 */

export { Endpoint } from "./endpoint.ts";
export { remote, type QueueApplication, type RemoteOptions, type RouteOptions } from "./remote.ts";
export {
  CpuLiveLoadBalancer,
  CpuLiveServerless,
  CpuLoadBalancerSlsResource,
  CpuServerlessEndpoint,
  LiveLoadBalancer,
  LiveServerless,
  LoadBalancerSlsResource,
  ServerlessEndpoint,
  type ResourceOptions,
} from "./resources.ts";
export type { DeployOptions } from "./deploy.ts";
export { NetworkVolume, PodTemplate } from "./models.ts";
export { EndpointJob } from "./endpoint-job.ts";
export type { WaitOptions } from "./job.ts";
export { configure, type Configuration } from "./configure.ts";
export { retryIn, stop } from "./attempts.ts";
export { context } from "./context.ts";
export { secret } from "./secret.ts";
export { where } from "./where.ts";
export type {
  CallOptions,
  ChunkOf,
  ClientOptions,
  ClientVerb,
  EndpointBuilder,
  EndpointClient,
  EndpointFactory,
  EndpointInfo,
  HealthDocument,
  QueueCall,
  QueueClass,
  QueueFunction,
  QueueMethods,
  QueueStream,
  RequestOptions,
  ResultOf,
  RouteFunction,
  RouteMethod,
  RoutePath,
  RouteRegistrar,
  JobPolicyRequest,
  SubmitOptions,
} from "./types.ts";
export {
  CPU_DATACENTERS,
  CpuInstanceType,
  CudaVersion,
  DataCenter,
  GpuGroup,
  GpuType,
  ServerlessScalerType,
  ServerlessType,
} from "../contract/hardware.ts";
export type { FailureKind, JobAttempt, JobFailure } from "../contract/job-failure.ts";
export type { JobFailureDetails } from "./failure.ts";
export type { ErrorReport } from "../contract/errors.ts";
export { FlashError, type ErrorCode, type Issue } from "../contract/flash-error.ts";
export type { Context, ContextLog } from "../contract/context.ts";
export type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
  StandardSchema,
} from "../contract/options.ts";
export type { SecretReference } from "../contract/secrets.ts";
export type { Place } from "../contract/where.ts";

/** Workers that an endpoint keeps by default. */
export const DEFAULT_WORKERS_MIN = 0;
/** Workers that an endpoint has at most by default. */
export const DEFAULT_WORKERS_MAX = 1;
