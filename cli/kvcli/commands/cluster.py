"""`kv cluster`: a whole cluster of real nodes on this machine, in one directory, for trying out and for tests."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kvcli import completing, output
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import group
from kvstore import limits

if TYPE_CHECKING:
    from kvcluster.supervisor import Cluster

F = TypeVar("F", bound=Callable[..., Any])

LEADER: Final = "leader"

_dir_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="KV_CLUSTER_DIR",
    show_envvar=True,
    default="kv-cluster",
    show_default=True,
    help="Directory of the cluster.",
)
_wait_option = click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 600),
    default=30,
    show_default=True,
    help="How long to wait until nodes are ready.",
)


@group(short_help="Run a whole cluster on this machine.")
@global_options
def cluster() -> None:
    """Run a whole cluster on this machine, in one directory.

    NODE is a name such as n1, or 'leader' for the node that leads now.
    """


@cluster.command()
@click.option("--nodes", type=click.IntRange(1, limits.MEMBERS_MAX), help="How many nodes.  [default: 3]")
@click.option("--proxy", is_flag=True, help="Put a proxy on every link of a new cluster, for 'partition'.")
@click.option("--redis", is_flag=True, help="Give each node of a new cluster a door for the Redis protocol.")
@click.option("--tls", is_flag=True, help="Let each door of a new cluster speak TLS, with a CA made in its directory.")
@_dir_option
@_wait_option
@global_options
def up(nodes: int | None, proxy: bool, redis: bool, tls: bool, directory: Path, wait_s: float) -> None:
    """Start a cluster, or start again what is not running of the one in the directory.

    Returns when every node is ready. Exit code 4 if that takes too long; what runs is left running.
    """
    from kvcluster.lifecycle import bring_up

    started = bring_up(directory, nodes, wait_s, output.message, proxy=proxy, redis=redis, tls=tls)
    document = started.describe()
    _print_cluster(document)
    output.message(f'to talk to it: eval "$(kv cluster env --dir {shlex.quote(str(directory))})"')
    output.message(f"to look at it: {document['endpoints'][0]}/ui")


@cluster.command()
@_dir_option
@global_options
def env(directory: Path) -> None:
    """Print the variables by which a shell talks to the cluster: eval "$(kv cluster env)".

    They are KV_CLUSTER_DIR and KV_ENDPOINTS; where the cluster speaks TLS, KV_CACERT, KV_CERT and KV_KEY, too.
    """
    document = _open(directory).describe()
    given = {"KV_CLUSTER_DIR": document["dir"], "KV_ENDPOINTS": ",".join(document["endpoints"])}
    given |= {f"KV_{name.upper()}": path for name, path in document.get("tls", {}).items()}
    if settings().output is Mode.JSON:
        output.write_json(given)
        return
    for name, value in given.items():
        output.write_line(f"export {name}={shlex.quote(value)}")


@cluster.command()
@_dir_option
@global_options
def status(directory: Path) -> None:
    """Show nodes, processes and roles, and links with a fault on them.

    A node that was asked to end is stopped; one that ended in another way, killed by SIGKILL for instance, is dead.
    """
    _print_cluster(_open(directory).status())


@cluster.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=completing.nodes)
@_dir_option
@global_options
def kill(nodes: tuple[str, ...], directory: Path) -> None:
    """Kill nodes at once, with SIGKILL."""
    _each(directory, nodes, lambda opened, name: opened.kill(name), "killed {}, which led, with SIGKILL")


@cluster.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=completing.nodes)
@_dir_option
@global_options
def pause(nodes: tuple[str, ...], directory: Path) -> None:
    """Freeze nodes, with SIGSTOP: they hold their connections and answer nothing."""
    _each(directory, nodes, lambda opened, name: opened.pause(name), "paused {}, which leads, with SIGSTOP")


@cluster.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=completing.nodes)
@_dir_option
@global_options
def resume(nodes: tuple[str, ...], directory: Path) -> None:
    """Let paused nodes go on."""
    _each(directory, nodes, lambda opened, name: opened.resume(name))


@cluster.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=completing.nodes)
@_dir_option
@_wait_option
@global_options
def restart(nodes: tuple[str, ...], directory: Path, wait_s: float) -> None:
    """Stop nodes if they run, start them, and wait until they are ready, one after the other."""
    _each(directory, nodes, lambda opened, name: opened.restart(name, wait_s))


@cluster.command()
@click.argument("groups", metavar="GROUPS")
@click.option("--one-way", is_flag=True, help="Cut only what a group sends to the groups right of it.")
@click.option("--reset", is_flag=True, help="Reset connections instead of keeping what is sent until 'heal'.")
@_dir_option
@global_options
def partition(groups: str, one_way: bool, reset: bool, directory: Path) -> None:
    """Cut groups of nodes off from each other, such as 'n1,n2|n3'. Needs a cluster that was started with --proxy.

    A node in no group keeps all its links. What was cut before stays cut. Clients still reach every node.
    """
    from kvcluster import faults

    opened = _open(directory)
    faults.partition(opened.topology, groups, one_way=one_way, reset=reset, resolve=lambda name: _resolve(opened, name))
    _print_links(opened)


@cluster.command()
@_dir_option
@global_options
def heal(directory: Path) -> None:
    """End every fault on links; what was kept arrives."""
    from kvcluster import faults

    opened = _open(directory)
    faults.heal(opened.topology)
    _print_links(opened)


@cluster.command()
@click.option("--purge", is_flag=True, help="Delete the data too.")
@_dir_option
@global_options
def down(directory: Path, purge: bool) -> None:
    """Stop every node; its data stays, unless --purge is given."""
    from kvcluster import lifecycle

    opened = _open(directory, "nothing was stopped or deleted: it is gone already, or --dir is to name another one")
    ran = lifecycle.purge(opened) if purge else opened.down()
    _print_nodes(opened, opened.topology.names)
    argument = shlex.quote(str(directory))
    if purge:
        output.message("stopped, data deleted" if ran else "was not running; data deleted")
    else:
        kept = f"the data is kept in {argument}: kv cluster up --dir {argument} starts it again"
        output.message(f"{'stopped' if ran else 'was not running'}; {kept}")


def _open(directory: Path, otherwise: str | None = None) -> "Cluster":
    """The cluster there. Raises BadClusterDirectory, with `otherwise`, by default how to start one."""
    from kvcluster.supervisor import Cluster
    from kvcluster.topology import FILE_NAME, BadClusterDirectory

    try:
        return Cluster.open(directory, output.message)
    except BadClusterDirectory as missing:
        if (directory / FILE_NAME).exists():
            raise  # it cannot be read: nothing starts one there
        start = f"'kv cluster up --dir {shlex.quote(str(directory))}' starts one"
        raise BadClusterDirectory(f"{missing}; {otherwise or start}") from missing


def _each(
    directory: Path, names: tuple[str, ...], action: Callable[["Cluster", str], object], of_leader: str | None = None
) -> None:
    """Do it to each of them. `of_leader`: what to say when it was done to a node that was only called the leader."""
    opened = _open(directory)
    resolved = {name: _resolve(opened, name) for name in names}
    chosen = list(dict.fromkeys(resolved.values()))
    done = [name for name in chosen if action(opened, name)]
    _print_nodes(opened, chosen)
    if of_leader is not None and resolved.get(LEADER) in done:
        output.message(of_leader.format(resolved[LEADER]))


def _resolve(opened: "Cluster", name: str) -> str:
    from kvcluster.supervisor import NotReady

    if name != LEADER:
        return opened.topology.node(name).name
    leader = opened.leader()
    if leader is None:
        raise NotReady("no node says that there is a leader; nothing was done")
    return leader


def _print_cluster(document: dict[str, Any]) -> None:
    """`up` and `status`: the whole cluster, and what is wrong with its links."""
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json(document)
        return
    columns = [
        name
        for name in ("name", "state", "role", "http", "peer", "redis", "pid", "data_dir")
        if name in document["nodes"][0]
    ]
    rows = [["-" if node[name] is None else str(node[name]) for name in columns] for node in document["nodes"]]
    output.write_rows([name.upper() for name in columns], rows, mode)
    if document.get("links", []) is None:
        output.message("the link proxies do not answer")
    elif document.get("links"):
        _write_links(document["links"], mode)


def _print_links(opened: "Cluster") -> None:
    """`partition` and `heal`: the links with a fault on them."""
    from kvcluster import faults

    mode, links = settings().output, faults.faulty_links(opened.topology)
    if mode is Mode.JSON:
        output.write_json({"dir": str(opened.topology.directory), "links": links})
    else:
        _write_links(links, mode)


def _write_links(links: list[dict[str, Any]], mode: Mode) -> None:
    names = ["from", "to", "state", "delay_ms"]
    output.write_rows([name.upper() for name in names], [[str(link[name]) for name in names] for link in links], mode)


def _print_nodes(opened: "Cluster", names: list[str]) -> None:
    """The other commands: the nodes that were touched, and what they are now."""
    mode = settings().output
    nodes = []
    for name in names:
        state = opened.condition(name)
        process = opened.process(name)
        alive = process is not None and state in ("running", "paused")
        nodes.append({"name": name, "state": state, "pid": process.pid if process is not None and alive else None})
    if mode is Mode.JSON:
        output.write_json({"dir": str(opened.topology.directory), "nodes": nodes})
        return
    output.write_rows(
        ["NAME", "STATE", "PID"], [[str(n["name"]), str(n["state"]), str(n["pid"] or "-")] for n in nodes], mode
    )
