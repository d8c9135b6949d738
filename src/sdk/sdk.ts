/**
 * Front door of the package: what user code imports. The room owns declaring endpoints, calling
 * them wherever they are, and `context()`; it does not serve and does not build. It loads in
 * browsers too, so nothing here imports a module of Node.
 *
 *   endpoint     Endpoint: queue functions, classes, routes
 *   client       Endpoint({ id }), Endpoint({ image })
 *   remote       remote(), for the resources of the older surface
 *   resources    LiveLoadBalancer, LoadBalancerSlsResource …
 *   models       NetworkVolume, PodTemplate
 *   declare      what a declaring call writes to the registry
 *   functions    what user code gets back for its functions and classes
 *   callable     objects that are called like functions
 *   place        where a call runs; where()
 *   test-runner  whether this process runs tests
 *   in-process   running a function here, context()
 *   local-job    a job that runs here
 *   job          EndpointJob, and a job's failure
 *   calls        calls to deployed routes and functions
 *   jobs         the job API
 *   directory    how deployed endpoints bind their calls
 *   connection   servers, keys, names
 *   exchange     one HTTP exchange
 *   answer       the value that an answer carries
 *   events       streams of deployed routes
 *   deploy       resource.deploy()
 *   environment  variables, files, Node's modules
 *   pause        waiting between looks
 *   types        types of all of these
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
export { EndpointJob, type WaitOptions } from "./job.ts";
export { context } from "./in-process.ts";
export { where } from "./place.ts";
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
  RouteRegistrar,
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
export { FlashError, type ErrorCode, type ErrorReport, type Issue } from "../contract/errors.ts";
export type { Context, ContextLog } from "../contract/context.ts";
export type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
  StandardSchema,
} from "../contract/options.ts";
export type { Place } from "../contract/where.ts";

/** Workers that an endpoint keeps by default. */
export const DEFAULT_WORKERS_MIN = 0;
/** Workers that an endpoint has at most by default. */
export const DEFAULT_WORKERS_MAX = 1;
