#!/usr/bin/env bash
# Installs the Debian packages that only some measurements and tests need: wrk (load generator), etcd-server (the store
# that the speed is compared with), chromium (looks at the harness's reports) and nftables (loses packets). Without root
# or apt it says so and ends well: what needs them is then reported as skipped.
set -euo pipefail

missing=()
command -v wrk >/dev/null 2>&1 || missing+=(wrk)
command -v etcd >/dev/null 2>&1 || missing+=(etcd-server)
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
command -v nft >/dev/null 2>&1 || missing+=(nftables)

if [ ${#missing[@]} -eq 0 ]; then
    echo "wrk, etcd, chromium and nft are here already."
elif ! command -v apt-get >/dev/null 2>&1; then
    echo "Skipped: ${missing[*]} not installed, because this system has no apt-get."
elif [ "$(id -u)" -ne 0 ]; then
    echo "Skipped: ${missing[*]} not installed, because that needs root. The command:"
    echo "    sudo apt-get install -y --no-install-recommends ${missing[*]}"
else
    apt-get update -qq || echo "The package lists could not be refreshed; trying with those at hand."
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    if [ -d /run/systemd/system ] && command -v etcd >/dev/null 2>&1; then
        echo "Debian may have started etcd as a service on port 2379; to stop it: systemctl disable --now etcd"
    fi
fi
