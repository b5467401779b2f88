"""Fixture `kv_cluster`: real clusters in temporary directories, always stopped again, whatever becomes of the test.

    def test_it(kv_cluster):
        cluster = kv_cluster(nodes=3)
        with Client(cluster.endpoints) as client:
            ...

Enable it with `pytest_plugins = ["kvcluster.pytest_plugin"]` in the conftest.py at the root of your tests, or with
`pytest -p kvcluster.pytest_plugin`. It is not enabled by being installed: other tests should not have to load it.
docs/python-client.md has an example that kills a leader.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import NO_ENV, PROGRAM, START_S_DEFAULT, Cluster
from kvcluster.topology import FILE_NAME

_FAILED = pytest.StashKey[bool]()


class ClusterFactory(Protocol):
    """Starts one more cluster and waits until it is ready; `env` are settings of its nodes, as `KV_*` variables.

    `proxy`: with link proxies, see kvcluster.faults. `redis`: each node has a Redis door. `tls`: every door
    speaks TLS, see `Cluster.tls`. `program`: see kvcluster.supervisor.Cluster.
    """

    def __call__(
        self,
        nodes: int = 3,
        *,
        env: Mapping[str, str] = ...,
        timeout_s: float = ...,
        proxy: bool = ...,
        redis: bool = ...,
        tls: bool = ...,
        program: str = ...,
    ) -> Cluster: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that the test failed, so that the fixture shows what the nodes said."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture
def kv_cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ClusterFactory]:
    """A function that starts clusters; every process of theirs is killed after the test."""
    started: dict[Path, Cluster | None] = {}

    def start(
        nodes: int = 3,
        *,
        env: Mapping[str, str] = NO_ENV,
        timeout_s: float = START_S_DEFAULT,
        proxy: bool = False,
        redis: bool = False,
        tls: bool = False,
        program: str = PROGRAM,
    ) -> Cluster:
        directory = tmp_path / f"cluster-{len(started) + 1}"
        started[directory] = None
        started[directory] = cluster = bring_up(
            directory, nodes, timeout_s, env=env, proxy=proxy, redis=redis, tls=tls, program=program
        )
        return cluster

    yield start
    with ExitStack() as finishing:
        for directory, cluster in started.items():
            if (directory / FILE_NAME).exists():
                shown = request.node.stash.get(_FAILED, False)
                finishing.callback(_finish, cluster or Cluster.open(directory), shown=shown)


def _finish(cluster: Cluster, *, shown: bool) -> None:
    with ExitStack() as killing:
        for name in cluster.topology.processes:
            killing.callback(cluster.kill, name)
    for name in cluster.topology.processes:
        if shown:
            print(f"--- end of the log of {name}\n{cluster.log_tail(name)}")
