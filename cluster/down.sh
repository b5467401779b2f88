#!/usr/bin/env bash
# Stops a cluster; --purge deletes its data too: `kv cluster down`. Options are passed on; --help shows them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv run
exec "$KV_VENV/bin/kv" cluster down "$@"
