#!/usr/bin/env bash
# Installs the Debian packages that only some measurements and tests need: wrk (load generator), etcd-server (the store
# that the speed is compared with), chromium (looks at the web page and the harness's reports), nftables (loses packets),
# redis-tools (redis-cli and redis-benchmark, for the Redis door), prometheus (promtool and a Prometheus, for the alert
# rules), zsh and fish (completion of the command line in them).
# Without root or apt it says so and ends well: what needs them is then reported as skipped.
# If npm is there, axe-core is put beside the browser tests, too: the version and checksum of
# tests/browser/package-lock.json, for these tests alone.
#
# With --peers also the other systems that tests/bench/compare.py measures, and what their load generators are built from
# (Go and its libraries, ZooKeeper's C library): about 1 GB.
set -euo pipefail

missing=()
command -v wrk >/dev/null 2>&1 || missing+=(wrk)
command -v etcd >/dev/null 2>&1 || missing+=(etcd-server)
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
command -v nft >/dev/null 2>&1 || missing+=(nftables)
command -v redis-cli >/dev/null 2>&1 || missing+=(redis-tools)
command -v promtool >/dev/null 2>&1 || missing+=(prometheus)
command -v zsh >/dev/null 2>&1 || missing+=(zsh)
command -v fish >/dev/null 2>&1 || missing+=(fish)

if [ "${1:-}" = --peers ]; then
    for package in zookeeper nats-server redis-server redis-tools \
        gcc libc6-dev libzookeeper-mt-dev golang-go golang-google-grpc-dev golang-github-nats-io-go-nats-dev; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
    done
fi

if [ ${#missing[@]} -eq 0 ]; then
    echo "wrk, etcd, chromium, nft, redis-tools, prometheus, zsh and fish are here already."
elif ! command -v apt-get >/dev/null 2>&1; then
    echo "Skipped: ${missing[*]} not installed, because this system has no apt-get."
elif [ "$(id -u)" -ne 0 ]; then
    echo "Skipped: ${missing[*]} not installed, because that needs root. The command:"
    echo "    sudo apt-get install -y --no-install-recommends ${missing[*]}"
else
    apt-get update -qq || echo "The package lists could not be refreshed; trying with those at hand."
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    # Measurements start their own, on free ports; what Debian starts as a service only takes time from them.
    for service in etcd:2379 redis-server:6379 nats-server:4222 prometheus:9090; do
        if (exec 3<>"/dev/tcp/127.0.0.1/${service#*:}") 2>/dev/null; then
            echo "Something listens on port ${service#*:}: perhaps the service that came with ${service%:*}. To stop it:"
            echo "    systemctl disable --now ${service%:*}"
        fi
    done
fi

browser=$(dirname "${BASH_SOURCE[0]}")/../tests/browser
if [ -f "$browser/node_modules/axe-core/axe.min.js" ]; then
    echo "axe-core is here already."
elif ! command -v npm >/dev/null 2>&1; then
    echo "Skipped: axe-core, which looks for what keeps people from using the web page, needs npm (apt-get install npm)."
elif ! npm ci --prefix "$browser" --ignore-scripts --no-audit --no-fund; then
    echo "Skipped: axe-core could not be fetched."
fi
