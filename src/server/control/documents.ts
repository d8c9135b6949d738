/** Endpoints and builds as every document of the control API shows them. */

import type { BuildDocument, EndpointDocument } from "../../contract/control.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import type { BuildRow, EndpointRow } from "../../contract/store.ts";

export function endpointDocument(
  row: EndpointRow,
  manifest: EndpointManifest,
  serverUrl: string,
): EndpointDocument {
  return {
    name: row.name,
    kind: row.kind,
    id: row.id,
    url: `${serverUrl}/${row.kind === "qb" ? "v2" : "lb"}/${row.id}`,
    routes: manifest.functions.flatMap(({ route }) => (route === undefined ? [] : [route])),
  };
}

export function buildDocument({
  id,
  app,
  digest,
  bytes,
  unpackedBytes,
  createdAt,
}: BuildRow): BuildDocument {
  return { id, app, digest, bytes, unpackedBytes, createdAt: new Date(createdAt).toISOString() };
}
