"""What to do where nobody listens: it depends on whether the endpoints are those of a cluster that `kv cluster` keeps
on this machine, whether any were named at all, and what KV_CLUSTER_DIR says.

Only looks at files and processes, and never takes the place of the failure that it is told with.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kvcli.options import DEFAULT_ENDPOINT, parse_endpoint_list
from kvcli.situation import tell
from kvstore.errors import CannotConnect, LocalError

if TYPE_CHECKING:
    from kvcluster.supervisor import Cluster

CLUSTER_DIR: Final = "KV_CLUSTER_DIR"
# Where `kv cluster` has its cluster if nothing else is said.
CLUSTER_DIR_DEFAULT: Final = "kv-cluster"

_DEMO: Final = "./demo"
_LOOPBACK: Final = ("127.0.0.1", "localhost")


def advise(error: BaseException, endpoints: Sequence[str]) -> None:
    """If nobody listens at `endpoints`, lines that say what to do go with `error`."""
    if isinstance(error, CannotConnect):
        tell(error, advice(endpoints))


def advice(endpoints: Sequence[str]) -> list[str]:
    """What to do where none of `endpoints`, or this one of them, answers; as lines for people."""
    try:
        return _of_their_cluster(endpoints) or _of_the_named_directory(endpoints) or _of_strangers(endpoints)
    except (LocalError, OSError, ValueError, TypeError):  # a directory that cannot be read
        return _of_strangers(endpoints)


def _of_their_cluster(endpoints: Sequence[str]) -> list[str]:
    """Where all of them are nodes of one cluster on this machine."""
    found = {each: _cluster_of(each) for each in endpoints}
    clusters = {cluster.topology.directory: cluster for cluster in found.values() if cluster is not None}
    if None in found.values() or len(clusters) != 1:
        return []
    (cluster,) = clusters.values()
    where, argument = cluster.topology.directory, _dir(cluster.topology.directory)
    states = {node.name: cluster.state(node.name) for node in cluster.topology.nodes}
    if set(states.values()) == {"dead"}:
        return [f"The cluster in {where} is not running: kv cluster up {argument}"]
    ports = {urlsplit(each).port for each in endpoints}
    asked = [node.name for node in cluster.topology.nodes if node.http_port in ports]
    lines = []
    for state, said, cure in (("dead", "not running", "up"), ("paused", "paused", "resume")):
        if names := [name for name in asked if states[name] == state]:
            words = cure if cure == "up" else f"{cure} {' '.join(names)}"
            are = "is" if len(names) == 1 else "are"
            lines.append(f"{', '.join(names)} of the cluster in {where} {are} {said}: kv cluster {words} {argument}")
    return lines or [f"The cluster in {where} is running; is it still starting? kv cluster status {argument}"]


def _of_the_named_directory(endpoints: Sequence[str]) -> list[str]:
    """Where they are of none, and KV_CLUSTER_DIR, or the directory that is taken without it, tells of one."""
    named = os.environ.get(CLUSTER_DIR)
    unasked = _by_default(endpoints)
    if not (unasked or (named and _from_environment(endpoints))):
        return []
    directory = Path(named or CLUSTER_DIR_DEFAULT)
    cluster, argument = _cluster_in(directory), _dir(directory)
    then = f'eval "$(kv cluster env {argument})"'
    if cluster is None:
        return [f"There is no cluster in {directory}: kv cluster up {argument}; then: {then}"] if named else []
    if all(cluster.state(name) == "dead" for name in cluster.topology.names):
        return [f"The cluster in {directory} is not running: kv cluster up {argument}; then: {then}"]
    return [f"The cluster in {directory} is running, and has other endpoints: {then}"]


def _of_strangers(endpoints: Sequence[str]) -> list[str]:
    if _by_default(endpoints):
        up, env = f"kv cluster up --nodes 3 --dir {_DEMO}", f'eval "$(kv cluster env --dir {_DEMO})"'
        return [
            f"{up} starts a cluster; then: {env}",
            "A single node of your own: kv serve. Nodes elsewhere: name them with --endpoints or KV_ENDPOINTS.",
        ]
    return ["Is a node running there? Start one with 'kv serve', or name others with --endpoints or KV_ENDPOINTS."]


def _by_default(endpoints: Sequence[str]) -> bool:
    return [each.partition("://")[2] for each in endpoints] == [DEFAULT_ENDPOINT]


def _from_environment(endpoints: Sequence[str]) -> bool:
    text = os.environ.get("KV_ENDPOINTS")
    return bool(text) and set(endpoints) <= set(parse_endpoint_list(text or ""))


def _cluster_of(endpoint: str) -> "Cluster | None":
    """The cluster of this machine with a node at `endpoint`."""
    from kvcluster.claims import owner

    where = urlsplit(endpoint)
    if where.hostname not in _LOOPBACK or where.port is None:
        return None
    file = owner(where.port)
    named = os.environ.get(CLUSTER_DIR)
    for directory in (None if file is None else file.parent, Path(named) if named else None):
        cluster = None if directory is None else _cluster_in(directory)
        if cluster is not None and any(node.http_port == where.port for node in cluster.topology.nodes):
            return cluster
    return None


def _cluster_in(directory: Path) -> "Cluster | None":
    from kvcluster.supervisor import Cluster
    from kvcluster.topology import BadClusterDirectory

    try:
        return Cluster.open(directory)
    except BadClusterDirectory:
        return None


def _dir(directory: Path) -> str:
    return f"--dir {shlex.quote(str(directory))}"
