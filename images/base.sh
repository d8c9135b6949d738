#!/bin/sh
# A base image without a registry, from this machine's own files: a shell, a few tools, tini, npm, and
# the Node that the repository brings along. Only for tests: `images/base.sh flash-test-base`.
set -eu
name=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
node=$(cd "$(dirname "$0")/.." && node --print 'process.execPath')

# A program with the libraries it needs, at their own paths.
add() {
  for part in "$1" $(ldd "$1" 2>/dev/null | grep --only-matching '/[^ ]*' || true); do
    mkdir -p "$root$(dirname "$part")"
    cp --dereference --update "$part" "$root$part"
  done
}

for tool in sh env mkdir chown rm id ps cat sleep tini; do
  file=$(readlink -f "$(command -v "$tool")")
  add "$file"
  mkdir -p "$root/usr/bin"
  [ -e "$root/usr/bin/$tool" ] || cp --dereference "$file" "$root/usr/bin/$tool"
done
add "$node"
cp "$node" "$root/usr/bin/node"
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
mkdir -p "$root/usr/lib/node_modules" "$root/bin" "$root/etc/ssl/certs" "$root/tmp" "$root/root" "$root/proc" "$root/dev"
chmod 1777 "$root/tmp"
cp -r "$npm" "$root/usr/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
[ -e "$root/bin/sh" ] || ln -s ../usr/bin/sh "$root/bin/sh"
printf 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\n' >"$root/etc/group"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
tar --create --directory "$root" . | docker import \
  --change 'ENV PATH=/usr/bin:/bin' \
  --change 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' - "$name"
