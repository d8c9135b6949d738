/** The pages at `/docs`: Swagger UI from this package, without a request to anywhere else. */

import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";

/** No endpoint's name starts with a `-`, so nothing of the user's is hidden by these paths. */
export const apiBrowserPrefix = "/-/api-browser/";

const FOLDER = new URL("../../dist/api-browser/", import.meta.url);

const FILES: Readonly<Record<string, string>> = {
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
  "swagger-ui.css": "text/css; charset=utf-8",
};

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>Flash Dev Server</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="${apiBrowserPrefix}swagger-ui.css" />
  </head>
  <body>
    <div id="api"></div>
    <script src="${apiBrowserPrefix}swagger-ui-bundle.js"></script>
    <script src="${apiBrowserPrefix}start.js"></script>
  </body>
</html>
`;

const START = `SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
`;

/** Answers `/docs` and the files it asks for; 404 for any other name. */
export function sendApiBrowser(response: ServerResponse, pathname: string): void {
  if (pathname === "/docs") send(response, "text/html; charset=utf-8", PAGE);
  else if (pathname === `${apiBrowserPrefix}start.js`) {
    send(response, "text/javascript; charset=utf-8", START);
  } else void sendFile(response, pathname.slice(apiBrowserPrefix.length));
}

async function sendFile(response: ServerResponse, name: string): Promise<void> {
  const type = FILES[name];
  const body =
    type === undefined ? undefined : await readFile(new URL(name, FOLDER)).catch(() => undefined);
  if (type === undefined || body === undefined) response.writeHead(404).end();
  else send(response, type, body);
}

function send(response: ServerResponse, type: string, body: string | Buffer): void {
  response.writeHead(200, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-cache",
    "content-security-policy":
      "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
  });
  response.end(body);
}
