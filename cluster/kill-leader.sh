#!/usr/bin/env bash
# Kills the node that leads, with SIGKILL: `kv cluster kill leader`. Options are passed on; --help shows them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv run
exec "$KV_VENV/bin/kv" cluster kill leader "$@"
