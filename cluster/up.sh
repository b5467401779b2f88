#!/usr/bin/env bash
# Starts a cluster, or starts again what is not running of it: `kv cluster up`. Options are passed on; --help shows them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv run
exec "$KV_VENV/bin/kv" cluster up "$@"
