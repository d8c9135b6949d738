/** What is deployed: the active release of an environment, its endpoints, and their pools of workers. */

import type { EndpointDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import { findEndpoint } from "../../contract/manifest.ts";
import type { BuildRow, EndpointRow, ReleaseRow, Store } from "../../contract/store.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { endpointDocument } from "./documents.ts";
import { requireName } from "./names.ts";
import type { Plans } from "./plans.ts";

export interface DeployedOptions {
  store: Store;
  fleet: Fleet;
  plans: Plans;
  /** Where clients reach the server. */
  url: () => string;
}

/** Which endpoints: of one environment, all or one. */
export interface EndpointFilter {
  app: string;
  environment: string;
  endpoint?: string;
}

export class Deployed {
  readonly #options: DeployedOptions;

  constructor(options: DeployedOptions) {
    this.#options = options;
  }

  /** Throws `NOT_DEPLOYED`. */
  async active(
    app: string,
    environment: string,
  ): Promise<{ release: ReleaseRow; build: BuildRow }> {
    requireName("app", app);
    requireName("environment", environment);
    const active = await this.#options.plans.active(app, environment);
    if (active === undefined) {
      throw new FlashError(
        "NOT_DEPLOYED",
        `The app '${app}' is not deployed in the environment '${environment}'.`,
        { hint: "Run 'flash deploy'." },
      );
    }
    return active;
  }

  /** Throws `ENDPOINT_NOT_FOUND` when one is asked for that is not there. */
  async rows(filter: EndpointFilter): Promise<EndpointRow[]> {
    const { app, environment, endpoint } = filter;
    const rows = await this.#options.store.control.listEndpoints(app, environment);
    if (endpoint === undefined) return rows;
    const found = rows.filter(({ name }) => name === endpoint);
    if (found.length === 0) throw endpointNotFound({ app, environment, endpoint });
    return found;
  }

  /** Throws `NOT_DEPLOYED`, `ENDPOINT_NOT_FOUND`. */
  async pool(filter: Required<EndpointFilter>): Promise<Pool> {
    const { app, environment, endpoint } = filter;
    const pool = this.#options.fleet.find(app, environment, endpoint);
    if (pool !== undefined) return pool;
    await this.active(app, environment);
    throw endpointNotFound(filter);
  }

  /** None for an endpoint that is not of this build. */
  documentOf(row: EndpointRow, build: BuildRow): EndpointDocument[] {
    const manifest = findEndpoint(build.manifest, row.name);
    return manifest === undefined ? [] : [endpointDocument(row, manifest, this.#options.url())];
  }
}

function endpointNotFound(filter: Required<EndpointFilter>): FlashError {
  const { app, environment, endpoint } = filter;
  return new FlashError(
    "ENDPOINT_NOT_FOUND",
    `There is no endpoint '${endpoint}' in the environment '${environment}' of the app '${app}'.`,
    { hint: "'flash status' lists the endpoints." },
  );
}
