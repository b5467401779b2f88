#!/usr/bin/env bash
# Shows the nodes of a cluster: `kv cluster status`. Options are passed on; --help shows them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv run
exec "$KV_VENV/bin/kv" cluster status "$@"
