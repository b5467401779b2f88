"""A Prometheus of the distribution, on a free loopback port, that scrapes some nodes every second."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from kvcluster.topology import HOST, free_ports

BINARY: Final = shutil.which("prometheus")
START_S_MAX: Final = 60.0
POLL_S: Final = 0.2


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def states(self) -> dict[str, str]:
        """Alert -> inactive, pending or firing."""
        groups = self._get("/api/v1/rules?type=alert")["groups"]
        return {rule["name"]: rule["state"] for group in groups for rule in group["rules"]}

    def broken_rules(self) -> dict[str, str]:
        """Alert -> why it could not be evaluated."""
        groups = self._get("/api/v1/rules?type=alert")["groups"]
        return {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")}

    def wait(self, names: Sequence[str], state: str, timeout_s: float) -> dict[str, float]:
        """When each of `names` came into `state`, in seconds from now. Raises TimeoutError."""
        began, came = time.monotonic(), dict[str, float]()
        while len(came) < len(names):
            now = self.states()
            for name in names:
                if now[name] == state:
                    came.setdefault(name, time.monotonic() - began)
            if time.monotonic() - began > timeout_s:
                late = {name: now[name] for name in names if name not in came}
                raise TimeoutError(f"after {timeout_s:g} s still not {state}: {late}; rules: {self.broken_rules()}")
            time.sleep(POLL_S)  # Prometheus has nothing to wait on
        return came

    def wait_scraped(self, targets: int, timeout_s: float) -> None:
        """Return when each of so many targets has been scraped: an increase needs something to begin from. Raises
        TimeoutError.
        """
        deadline = time.monotonic() + timeout_s
        while (
            not (found := self._get("/api/v1/query?query=sum(up)")["result"]) or float(found[0]["value"][1]) < targets
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout_s:g} s not all of {targets} targets are scraped: {found}")
            time.sleep(POLL_S)

    def _get(self, path: str) -> Any:
        with urlopen(self._url + path, timeout=10) as answer:
            return json.loads(answer.read())["data"]


@contextmanager
def running(directory: Path, targets: Sequence[str], rules: str, cacert: Path | None = None) -> Iterator[Prometheus]:
    """One with these `rules`, which scrapes `targets` (HOST:PORT), by TLS with `cacert`. Raises RuntimeError."""
    if BINARY is None:
        raise RuntimeError("there is no prometheus here: cluster/install-extras.sh")
    directory.mkdir(parents=True)
    (directory / "rules.yml").write_text(rules, encoding="utf-8")
    job: dict[str, Any] = {"job_name": "kvstore", "static_configs": [{"targets": list(targets)}]}
    if cacert is not None:
        job |= {"scheme": "https", "tls_config": {"ca_file": str(cacert)}}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [job],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (port,) = free_ports(1)
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(
            [
                BINARY,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={HOST}:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://{HOST}:{port}"
        _until_ready(child, url, directory / "log")
        yield Prometheus(url)
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _until_ready(child: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(URLError, OSError), urlopen(url + "/-/ready", timeout=2):
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"prometheus did not become ready: {log.read_text(errors='replace')[-2_000:]}")
