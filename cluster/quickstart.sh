#!/usr/bin/env bash
# From a fresh clone to a running, checked cluster of three nodes: sets up, imports the sources of Python's standard
# library, kills the leader in the middle, restarts everything, and checks that no acknowledged write was lost.
#
#   ./cluster/quickstart.sh [--dir DIR]      default: ./kv-quickstart
#
# Exit status 0 only if nothing was lost. The cluster is left running; the last lines say how to use and stop it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv run
exec "$KV_VENV/bin/python" -m kvcli.quickstart "$@"
