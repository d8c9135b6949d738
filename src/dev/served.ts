/** What `flash run` serves at the moment. */

import type { Manifest } from "../contract/manifest.ts";

/** The newest good build. */
export interface Served {
  manifest: Manifest;
  /** Of its artifact. */
  digest: string;
  /** Endpoint ids by name. */
  ids: ReadonlyMap<string, string>;
}
