"""PUT/s and GET/s of a three-node cluster here and of etcd's HTTP gateway, in turns in one run.

    python -m tests.bench.compare --rounds 3 --seconds 5 --connections 64

Both clusters run on loopback with their production defaults (fsync on) and are loaded by wrk on the leader's node,
100-byte values, 10,000 keys. Only one of them works at a time; the other is idle. Medians over the rounds are printed,
with the ratio.
Needs wrk and etcd-server from Debian (cluster/install-extras.sh); says so and ends with 0 when they cannot be had.
"""

import argparse
import base64
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kvcluster.lifecycle import bring_up

KEYS = 10_000
VALUE = "x" * 100


class Work(NamedTuple):
    """One column: what is asked of one system, as a wrk script against one URL."""

    system: str
    name: str
    url: str
    script: str


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _post(url: str, body: dict[str, str]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        parsed: dict[str, object] = json.load(answer)
        return parsed


@contextmanager
def _etcd(directory: Path) -> Iterator[str]:
    """Three etcd nodes with defaults; gives the client URL of the leader."""
    ports = _free_ports(6)
    clients = [f"http://127.0.0.1:{port}" for port in ports[:3]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    cluster = ",".join(f"e{place}={peer}" for place, peer in enumerate(peers))
    started = []
    for place in range(3):
        command = ["etcd", "--name", f"e{place}", "--data-dir", str(directory / f"e{place}"), "--log-level", "error"]
        command += ["--listen-client-urls", clients[place], "--advertise-client-urls", clients[place]]
        command += ["--listen-peer-urls", peers[place], "--initial-advertise-peer-urls", peers[place]]
        command += ["--initial-cluster", cluster, "--initial-cluster-state", "new"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield _etcd_leader(clients)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _etcd_leader(clients: list[str]) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            for client in clients:
                status = _post(f"{client}/v3/maintenance/status", {})
                header = status["header"]
                if isinstance(header, dict) and status.get("leader") == header["member_id"]:
                    return client
        except OSError:
            time.sleep(0.1)
    raise SystemExit("etcd elected nobody within 30 s")


def _script(directory: Path, name: str, method: str, paths_and_bodies: str) -> str:
    path = directory / f"{name}.lua"
    path.write_text(
        f"""
local n = 0
local requests = {{}}
init = function()
  for i = 0, {KEYS - 1} do
    {paths_and_bodies}
    requests[i] = wrk.format("{method}", path, nil, body)
  end
end
request = function() n = n + 1; return requests[(n * 7919) % {KEYS}] end
"""
    )
    return str(path)


_LUA_BASE64 = """
local alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
function encode(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 3, 0, -1 do
      local at = math.floor(word / 64 ^ place) % 64 + 1
      out[#out + 1] = alphabet:sub(at, at)
    end
    if not c then out[#out] = '=' end
    if not b then out[#out - 1] = '=' end
  end
  return table.concat(out)
end
"""


def _works(directory: Path, ours: str, etcd: str) -> list[Work]:
    value = base64.b64encode(VALUE.encode()).decode()
    our_path = "local path, body = '/v1/kv/key' .. i, nil"
    etcd_put = f"""local path = '/v3/kv/put'
    local body = '{{"key":"' .. encode('key' .. i) .. '","value":"{value}"}}'"""
    etcd_get = """local path = '/v3/kv/range'
    local body = '{"key":"' .. encode('key' .. i) .. '"}'"""
    scripts = {
        "put": _script(directory, "put", "PUT", f"local path, body = '/v1/kv/key' .. i, '{VALUE}'"),
        "get": _script(directory, "get", "GET", our_path),
        "one": _script(directory, "one", "GET", "local path, body = '/v1/kv/key' .. i .. '?level=one', nil"),
        "etcd-put": _script(directory, "etcd-put", "POST", etcd_put),
        "etcd-get": _script(directory, "etcd-get", "POST", etcd_get),
        "etcd-ser": _script(
            directory, "etcd-ser", "POST", etcd_get.replace(".. '\"}'", '.. \'","serializable":true}\'')
        ),
    }
    for name in ("etcd-put", "etcd-get", "etcd-ser"):
        path = Path(scripts[name])
        path.write_text(_LUA_BASE64 + path.read_text())
    return [
        Work("kvstore", "PUT", ours, scripts["put"]),
        Work("etcd", "PUT", etcd, scripts["etcd-put"]),
        Work("kvstore", "GET quorum", ours, scripts["get"]),
        Work("etcd", "GET quorum", etcd, scripts["etcd-get"]),
        Work("kvstore", "GET one", ours, scripts["one"]),
        Work("etcd", "GET one", etcd, scripts["etcd-ser"]),
    ]


def _run(work: Work, connections: int, seconds: int) -> float:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", work.script, work.url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"{work.system} {work.name}: some requests failed\n{out}")
    return float(next(line for line in out.splitlines() if line.startswith("Requests/sec")).split()[1])


def _etcd_version() -> str:
    return subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    missing = [tool for tool in ("wrk", "etcd") if shutil.which(tool) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not found; cluster/install-extras.sh installs them")
        return 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        cluster = bring_up(directory / "kv", 3)
        try:
            ours = next(node.http for node in cluster.topology.nodes if node.name == cluster.leader())
            with _etcd(directory) as etcd:
                works = _works(directory, ours, etcd)
                figures: dict[Work, list[float]] = {work: [] for work in works}
                for turn in range(options.rounds):
                    for work in works:
                        figures[work].append(_run(work, options.connections, options.seconds))
                        print(
                            f"round {turn + 1}: {work.system} {work.name}: {figures[work][-1]:,.0f}/s", file=sys.stderr
                        )
        finally:
            cluster.down()
    print(f"{_etcd_version()}; {options.connections} connections")
    print(f"medians of {options.rounds} rounds of {options.seconds} s")
    print(f"{'work':<12}{'kvstore/s':>12}{'etcd/s':>12}{'ratio':>8}")
    for mine, theirs in zip(works[::2], works[1::2], strict=True):
        a, b = statistics.median(figures[mine]), statistics.median(figures[theirs])
        print(f"{mine.name:<12}{a:>12,.0f}{b:>12,.0f}{a / b:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
