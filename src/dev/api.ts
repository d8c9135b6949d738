/** The API description that the dev server gives at `/openapi.json`: every endpoint under its name. */

import { openApiOf, type OpenApiDocument } from "../contract/openapi.ts";
import type { Served } from "./served.ts";

export function describeApi(
  served: Served,
  access: { url: string; isOpen: boolean },
): OpenApiDocument {
  const { manifest } = served;
  return openApiOf(manifest.endpoints, {
    title: manifest.app,
    version: manifest.fingerprint.slice(0, 12),
    description: "Served by flash run.",
    servers: [{ url: access.url }],
    prefix: (endpoint) => `/${endpoint.name}`,
    isOpen: access.isOpen,
  });
}
