"""Three nodes of this store, as `kv cluster up` starts them."""

import subprocess
from pathlib import Path

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvstore import __version__
from tests.bench.clusters import Place
from tests.bench.procs import NotAvailable, wait_for


class KvCluster:
    """See Running. Every default is on: fsync, metrics, idempotency, limits."""

    notes = "defaults; an fsync on a majority before each acknowledgment"

    def __init__(self, directory: Path) -> None:
        self.version = f"kvstore {__version__}{_commit()}"
        try:
            self._cluster = bring_up(directory / "kvstore", 3, redis=True)
        except BaseException:
            # What was started before it failed goes on running.
            Cluster.open(directory / "kvstore").down()
            raise

    @property
    def directory(self) -> Path:
        """Of the cluster, for `kv cluster`."""
        return self._cluster.topology.directory

    @property
    def pids(self) -> list[int]:
        found = [self._cluster.process(name) for name in self._cluster.topology.names]
        return [process.pid for process in found if process is not None]

    @property
    def addresses(self) -> list[str]:
        return [endpoint.removeprefix("http://") for endpoint in self._cluster.endpoints]

    def redis_address(self, place: Place) -> str:
        """Of the Redis door of a node."""
        address = self._cluster.topology.nodes[place.number].redis
        assert address is not None
        return address

    def leader(self) -> Place:
        name = wait_for("an election of kvstore", self._cluster.leader)
        number = self._cluster.topology.names.index(name)
        return Place(number, self.addresses[number])

    def kill(self, number: int) -> None:
        if not self._cluster.kill(self._cluster.topology.names[number]):
            raise NotAvailable("the node was dead already")

    def restart(self, number: int) -> None:
        self._cluster.restart(self._cluster.topology.names[number])

    def stop(self) -> None:
        self._cluster.down()


def _commit() -> str:
    """The commit of this checkout, and whether what is measured differs from it; nothing outside of one."""
    commit = _git("rev-parse", "--short", "HEAD")
    if commit is None:
        return ""
    return f" ({commit}{'-dirty' if _git('status', '--porcelain', '--', 'kvstore') else ''})"


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[3]
    told = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else None
