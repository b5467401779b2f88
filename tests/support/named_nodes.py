"""The nodes of a deployment file, started as it says, on a network of its names: the file that is its argument.

    unshare --net --mount python -m tests.support.named_nodes FILE DIRECTORY

It is alone on its network, so that names and ports are free, and sees another /etc/hosts. It writes, kills the leader,
writes again, asks every node by its name, and prints what it saw as one line of JSON.
"""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kvstore.client import Client, Tls
from kvstore.errors import KvError, LocalError
from tests.support.commands import with_kv

PATIENCE_S = 60.0
POLL_S = 0.1


class Planned(NamedTuple):
    """A node: the host by which it is reached, what is run for it, and with which variables."""

    host: str
    command: list[str]
    env: dict[str, str]


def of_compose(file: Path, directory: Path, program: dict[str, str]) -> dict[str, Planned]:
    """The services of a compose file, each with what its image runs."""
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    return {
        name: Planned(
            service["hostname"],
            ["kv", "serve"],
            program | service["environment"] | {"KV_DATA_DIR": str(directory / name)},
        )
        for name, service in services.items()
    }


def of_stateful_set(file: Path, directory: Path, program: dict[str, str]) -> dict[str, Planned]:
    """The pods of a StatefulSet, with the certificates that the head of the file tells to make."""
    text = file.read_text(encoding="utf-8")
    for line in re.findall(r"^#   (.*kv cert .*)$", text, re.MULTILINE):
        subprocess.run(["sh", "-ec", line], cwd=directory, env=program, check=True, stdout=sys.stderr)
    (described,) = (each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet")
    (container,) = described["spec"]["template"]["spec"]["containers"]
    service = described["spec"]["serviceName"]
    planned = {}
    for number in range(described["spec"]["replicas"]):
        name = f"{described['metadata']['name']}-{number}"
        env = {each["name"]: each.get("value", name).replace("$(KV_NAME)", name) for each in container["env"]}
        for variable, value in env.items():
            env[variable] = value.replace("/tls/", f"{directory}/certs/").replace("/data/", f"{directory}/{name}/")
        planned[name] = Planned(f"{name}.{service}", container["command"], program | env)
    return planned


def _own_network(hosts: list[str], directory: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    names = directory / "hosts"
    names.write_text(
        "127.0.0.1 localhost\n" + "".join(f"127.0.0.{10 + place} {host}\n" for place, host in enumerate(hosts))
    )
    subprocess.run(["mount", "--bind", str(names), "/etc/hosts"], check=True)


def _until_all_are_there(endpoints: list[str], tls: Tls | None, count: int) -> str:
    """The leader that every one of `count` nodes names."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            leaders = set()
            for endpoint in endpoints:
                with Client([endpoint], tls=tls, timeout_s=5.0) as client:
                    view = client.cluster()
                leaders.add(view.leader)
                if sum(member.reachable for member in view.members) < count:
                    leaders.add(None)
            if len(leaders) == 1 and (leader := leaders.pop()) is not None:
                return str(leader)
        except (KvError, LocalError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def _seen(planned: dict[str, Planned], running: dict[str, "subprocess.Popen[bytes]"], tls: Tls | None) -> Any:
    scheme = "http" if tls is None else "https"
    endpoints = [f"{scheme}://{each.host}:8480" for each in planned.values()]
    leader = _until_all_are_there(endpoints, tls, len(planned))
    with Client(endpoints, tls=tls, timeout_s=PATIENCE_S) as client:
        client.put(b"name", b"before")
        told = [member.http for member in client.cluster().members]
        running[leader].kill()
        client.put(b"name", b"after")
        value = client.get_value(b"name")
    alive = [each.host for name, each in planned.items() if name != leader]
    read = []
    for host in alive:
        with Client([f"{scheme}://{host}:8480"], tls=tls, timeout_s=PATIENCE_S) as client:
            read.append((client.get_value(b"name") or b"").decode())
    return {"endpoints": endpoints, "told": told, "value": (value or b"").decode(), "read": read}


def main() -> int:
    """Start them, see, and end them."""
    file, directory = Path(sys.argv[1]), Path(sys.argv[2])
    program = with_kv(directory)
    if file.name == "statefulset.yml":
        planned, tls = of_stateful_set(file, directory, program), Tls(str(directory / "certs" / "ca.pem"))
    else:
        planned, tls = of_compose(file, directory, program), None
    _own_network([each.host for each in planned.values()], directory)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, each in planned.items():
            with (directory / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(each.command, env=each.env, stderr=log)
        print(json.dumps(_seen(planned, running, tls)))
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
