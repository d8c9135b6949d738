#!/usr/bin/env bash
# Installs what the measurements compare with. Needs the npm registry, PyPI and Debian's servers.
set -euo pipefail
cd "$(dirname "$0")"
npm install --no-audit --no-fund --no-package-lock
python3 -m venv .venv
.venv/bin/pip install --quiet fastapi "uvicorn[standard]"
if ! command -v redis-server >/dev/null || ! command -v nginx >/dev/null || ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server nginx-light postgresql
  # Debian starts what it installs; the suites start their own, on private ports.
  service redis-server stop || true
  service nginx stop || true
  service postgresql stop || true
fi
