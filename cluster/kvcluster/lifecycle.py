"""The life of a whole cluster directory: its first start, where ports are chosen, every later start, and its end."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kvcluster.supervisor import NO_ENV, PROGRAM, START_S_DEFAULT, Cluster, NodeEnded, Progress
from kvcluster.topology import (
    CLIENT,
    FILE_NAME,
    BadClusterDirectory,
    Certificates,
    Topology,
    locked,
    port_is_free,
)
from kvstore.security import authority

NODES_DEFAULT: Final = 3
_ATTEMPTS: Final = 3


def bring_up(
    directory: Path,
    nodes: int | None = None,
    timeout_s: float = START_S_DEFAULT,
    progress: Progress = lambda line: None,
    env: Mapping[str, str] = NO_ENV,
    *,
    proxy: bool = False,
    redis: bool = False,
    tls: bool = False,
    program: str = PROGRAM,
) -> Cluster:
    """Start the cluster in `directory`, all of it ready on return; what was there before is started again as it was.

    `nodes` (3 if None) counts for a new cluster; for an old one it must be right or None. `proxy` gives a new cluster
    link proxies, `redis` a Redis door for each of its nodes, `tls` a CA and certificates; an old one keeps what it has,
    and gets none. Raises NotReady, NodeEnded, BadClusterDirectory, CertError. What runs when an error is raised goes on
    running. `env`: settings of the nodes, as variables. `program`: see Cluster.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS - 1):
        cluster, created = _open_or_create(directory, nodes, progress, env, program, proxy=proxy, redis=redis, tls=tls)
        try:
            cluster.up(timeout_s)
        except NodeEnded as ended:
            stolen = _stolen_port(cluster, ended.name) if created else None
            if stolen is None:
                raise
            progress(f"port {stolen} was taken before {ended.name} could listen on it; trying others")
            _remove(cluster)
        else:
            return cluster
    cluster, _ = _open_or_create(directory, nodes, progress, env, program, proxy=proxy, redis=redis, tls=tls)
    cluster.up(timeout_s)
    return cluster


def purge(cluster: Cluster) -> bool:
    """Stop the cluster and delete what belongs to it; the directory too, if nothing else is in it. False if no node was
    running.
    """
    ran = _remove(cluster)
    directory = cluster.topology.directory
    if not any(directory.iterdir()):
        directory.rmdir()
    return ran


def _open_or_create(
    directory: Path,
    nodes: int | None,
    progress: Progress,
    env: Mapping[str, str],
    program: str,
    *,
    proxy: bool,
    redis: bool,
    tls: bool,
) -> tuple[Cluster, bool]:
    """The cluster of `directory`, and whether it was made just now."""
    with locked(directory):
        if (directory / FILE_NAME).exists():
            cluster = Cluster.open(directory, progress, env, program)
            there = len(cluster.topology.nodes)
            if nodes not in (None, there):
                raise BadClusterDirectory(f"{directory} holds a cluster of {there} nodes, not {nodes}")
            if proxy and there > 1 and not cluster.topology.links:
                raise BadClusterDirectory(
                    f"{directory} holds a cluster without link proxies; they cannot be added later"
                )
            if redis and any(node.redis is None for node in cluster.topology.nodes):
                raise BadClusterDirectory(
                    f"{directory} holds a cluster without Redis doors; they cannot be added later"
                )
            if tls and cluster.topology.tls is None:
                raise BadClusterDirectory(f"{directory} holds a cluster without TLS; it cannot be added later")
            return cluster, False
        count = NODES_DEFAULT if nodes is None else nodes
        topology = Topology.create(directory, count, proxy=proxy, redis=redis, tls=tls)
        for name in topology.names:
            if topology.home(name).exists():
                raise BadClusterDirectory(f"{directory} holds {name} but no {FILE_NAME}; move it away first")
        if topology.tls is not None:
            _make_certificates(topology.tls, topology.names)
        topology.save()
        return Cluster(topology, progress, env, program), True


def _make_certificates(tls: Certificates, names: list[str]) -> None:
    """A CA, and certificates of the nodes and of one client. What an attempt before has left is replaced."""
    authority.make_ca(tls.directory, force=True)
    for name in names:
        authority.make_node(tls.directory, name, force=True)
    authority.make_client(tls.directory, CLIENT, force=True)


def _stolen_port(cluster: Cluster, name: str) -> int | None:
    """A port of the dead process `name` that another program holds, or None."""
    return next((port for port in cluster.topology.ports(name) if not port_is_free(port)), None)


def _remove(cluster: Cluster) -> bool:
    ran = cluster.down()
    with locked(cluster.topology.directory):
        (cluster.topology.directory / FILE_NAME).unlink(missing_ok=True)
        for name in cluster.topology.processes:
            shutil.rmtree(cluster.topology.home(name), ignore_errors=True)
        if cluster.topology.tls is not None:
            shutil.rmtree(cluster.topology.tls.directory, ignore_errors=True)
    return ran
