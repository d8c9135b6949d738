/**
 * `/login`: the page on which a login is approved. It loads nothing from anywhere, no other page can
 * frame it, and the key that is typed in leaves it as a header of two requests and is kept nowhere.
 */

import { hash } from "node:crypto";
import type { ServerResponse } from "node:http";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 26rem; margin: 12vh auto; padding: 0 1rem; }
label { display: block; margin-top: 1rem; }
input { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; }
button { margin: 1rem .5rem 0 0; padding: .5rem 1rem; font: inherit; }
output { display: block; margin-top: 1rem; white-space: pre-line; }
`;

const SCRIPT = `
const form = document.querySelector("form");
const told = document.querySelector("output");
form.code.value = new URLSearchParams(location.search).get("code") ?? "";
async function ask(path, options) {
  const response = await fetch("api/v1/logins" + path, {
    ...options,
    headers: { authorization: "Bearer " + form.key.value.trim(), "content-type": "application/json" },
  });
  const document = await response.json();
  if (!response.ok) throw new Error(document.detail);
  return document;
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const approve = event.submitter.value === "approve";
  const code = form.code.value;
  try {
    const login = await ask("?code=" + encodeURIComponent(code));
    const who = login.client + " at " + login.from;
    if (approve && !confirm("Give " + who + " a key to this server?")) return;
    await ask("/decide", { method: "POST", body: JSON.stringify({ code, approve }) });
    told.textContent = approve ? "Approved. You can close this page." : "Denied.";
    form.key.value = "";
  } catch (error) {
    told.textContent = error.message;
  }
});
`;

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Authorize flash</title>
<style>${STYLE}</style>
<h1>Authorize flash</h1>
<p>Somebody has run <code>flash login</code>. Approve it only if that was you, and the code is the one shown there.</p>
<form>
<label>Code <input name="code" autocomplete="off" required></label>
<label>A key of yours that may admin <input name="key" type="password" autocomplete="off" required></label>
<button value="approve">Approve</button><button value="deny">Deny</button>
</form>
<output></output>
<script>${SCRIPT}</script>
</html>
`;

const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${hash("sha256", STYLE, "base64")}'`,
  `script-src 'sha256-${hash("sha256", SCRIPT, "base64")}'`,
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export function sendLoginPage(response: ServerResponse): void {
  response.writeHead(200, {
    "content-type": "text/html; charset=utf-8",
    "content-length": Buffer.byteLength(PAGE),
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
  });
  response.end(PAGE);
}
