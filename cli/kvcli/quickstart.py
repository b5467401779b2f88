"""The main job, from nothing to a checked cluster: `cluster/quickstart.sh` ends up here.

Starts three nodes, imports the sources of the standard library, kills the leader in the middle, brings it back, reads
every key through every node, restarts everything and reads it all again. The cluster is left running. What was
acknowledged stands in a ledger with the SHA-256 of each value; the exit code is 0 only if all of it is still there.
"""

import asyncio
import shlex
import signal
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from kvcli import output
from kvcli.importer import Importer
from kvcli.progress import Progress, human_bytes
from kvcli.sources import Tree
from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import FILE_NAME
from kvjepsen.audit import Audit, audit_by_range
from kvjepsen.convergence import Convergence, NotConverged, converge
from kvjepsen.ledger import Ledger
from kvjepsen.recording import RecordingClient
from kvstore.errors import KvError, LocalError

NODES: Final = 3

_IMPORT_S_MIN: Final = 20.0
_IMPORT_BYTES_MAX: Final = 256 << 20
_IN_FLIGHT: Final = 64
_GIVE_UP_S: Final = 30.0
_NOT_LIBRARY: Final = (b"site-packages/", b"dist-packages/")
_SHOWN: Final = 10


@dataclass
class Story:
    """What happened, in order."""

    files: int = 0
    passes: int = 0
    keys: int = 0
    bytes: int = 0
    import_s: float = 0.0
    retries: int = 0
    victim: str = ""
    written_before: int = 0
    next_write_s: float | None = None
    convergence: list[Convergence] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    problem: str | None = None

    @property
    def lost(self) -> int:
        """Keys that are absent, old, or could not be read, over all nodes, levels and both times."""
        return sum(
            finding.kind in ("lost", "stale", "unreadable") for audit in self.audits for finding in audit.findings
        )

    @property
    def altered(self) -> int:
        """Keys that hold something else than what was acknowledged."""
        return sum(len(audit.findings) for audit in self.audits) - self.lost

    @property
    def good(self) -> bool:
        """Everything was done, and nothing was lost or altered."""
        complete = self.problem is None and self.next_write_s is not None and len(self.audits) == 2
        return complete and self.lost == 0 and self.altered == 0


class _KillInTheMiddle(Progress):
    """Kills the leader when half of the first pass is acknowledged, and notes when the next acknowledgement comes."""

    def __init__(self, cluster: Cluster, story: Story) -> None:
        super().__init__("imported")
        self._cluster = cluster
        self._story = story
        self._killing: asyncio.Task[None] | None = None
        self._killed_s = 0.0
        self._dead_s: float | None = None

    def advance(self, size: int = 0) -> None:
        super().advance(size)
        if self._killing is None and self.keys >= self._story.files // 2:
            self._killing = asyncio.create_task(self._kill())

    def acknowledged(self, begun_s: float) -> None:
        """A write counts as the next one only if it was begun when the victim was certainly dead."""
        if self._dead_s is not None and self._story.next_write_s is None and begun_s >= self._dead_s:
            self._story.next_write_s = time.monotonic() - self._killed_s

    async def done(self) -> None:
        """Wait for the kill; raises what went wrong with it."""
        if self._killing is not None:
            await self._killing

    async def _kill(self) -> None:
        leader = await asyncio.to_thread(self._cluster.leader)
        if leader is None:
            raise NotConverged("no node said who leads, so no leader could be killed")
        output.message(f"killing {leader}, which leads, with {signal.SIGKILL.name}")
        self._killed_s = time.monotonic()
        await asyncio.to_thread(self._cluster.kill, leader)
        self._story.victim, self._story.written_before, self._dead_s = leader, self.keys, time.monotonic()


async def run(cluster: Cluster, story: Story, ledger: Ledger) -> None:
    """Fills `story`. Raises KvError, LocalError or NotConverged when a step cannot be done."""
    library = Path(sysconfig.get_path("stdlib"))
    tree = Tree(str(library), ["*.py"], skip_too_large=True)
    tree.files = [(path, relative) for path, relative in tree.files if not relative.startswith(_NOT_LIBRARY)]
    tree.problems = []
    story.files = len(tree.files)
    output.message(f"importing {story.files:,} files of {library}, again and again for {_IMPORT_S_MIN:.0f} s or so")
    prefixes = await _import(cluster, tree, story, ledger)

    output.message(f"restarting {story.victim}")
    await asyncio.to_thread(cluster.restart, story.victim)
    await _check(cluster, story, ledger, prefixes)

    output.message("restarting the whole cluster")
    await asyncio.to_thread(cluster.down)
    await asyncio.to_thread(cluster.up)
    await _check(cluster, story, ledger, prefixes)


async def _import(cluster: Cluster, tree: Tree, story: Story, ledger: Ledger) -> list[bytes]:
    """The tree under as many prefixes as take long enough; returns them."""
    version = "python-{}.{}.{}".format(*sys.version_info[:3])
    prefixes: list[bytes] = []
    with _KillInTheMiddle(cluster, story) as progress:
        while story.import_s < _IMPORT_S_MIN and story.bytes < _IMPORT_BYTES_MAX:
            prefixes.append(f"{version}/{len(prefixes) + 1}/".encode())
            endpoints = cluster.topology.endpoints
            async with RecordingClient(endpoints, ledger, on_acknowledged=progress.acknowledged) as client:
                importer = Importer(
                    client, level="quorum", in_flight=_IN_FLIGHT, give_up_s=_GIVE_UP_S, progress=progress
                )
                summary = await importer.run(tree.items(prefixes[-1]))
            if summary.fatal is not None:
                raise summary.fatal
            story.passes += 1
            story.keys += summary.keys
            story.bytes += summary.bytes
            story.import_s += summary.seconds
            story.retries += summary.retries
        await progress.done()
    return prefixes


async def _check(cluster: Cluster, story: Story, ledger: Ledger, prefixes: list[bytes]) -> None:
    output.message("waiting until all nodes have the same state")
    story.convergence.append(await converge(cluster, timeout_s=60.0))
    output.message(f"reading {len(ledger):,} keys through {NODES} nodes, at QUORUM and at ONE")
    nodes = {node.name: node.http for node in cluster.topology.nodes}
    story.audits.append(await audit_by_range(ledger, nodes, prefixes))


def rows(story: Story, seconds: float) -> list[tuple[str, str]]:
    """The table of what happened."""
    passes = f"written {story.passes} times, each under its own prefix" if story.passes > 1 else "written once"
    waited = "never" if story.next_write_s is None else f"{story.next_write_s:.2f} s after it"
    checks = [f"{audit.reads:,} reads" for audit in story.audits]
    agreed = [f"{c.digest} at index {c.applied_index}" for c in story.convergence]
    after = story.keys - story.written_before
    return [
        ("standard library", f"{story.files:,} files, {passes}"),
        ("keys written", f"{story.keys:,}, {human_bytes(story.bytes)}, in {story.import_s:.1f} s"),
        ("leader killed", f"{story.victim or 'none'}; next write acknowledged {waited}"),
        ("written before the kill, after", f"{story.written_before:,}, {after:,} ({story.retries:,} tries repeated)"),
        ("checked: with the node back", checks[0] if checks else "not done"),
        ("checked: everything restarted", checks[1] if len(checks) > 1 else "not done"),
        ("all nodes agree, both times", "; ".join(agreed) or "not done"),
        ("lost", str(story.lost)),
        ("altered", str(story.altered)),
        ("time", f"{seconds:.0f} s"),
    ]


def _how_to_go_on(cluster: Cluster, example: str) -> str:
    activate = _path_from_here(Path(sys.executable).with_name("activate"))
    where = _path_from_here(cluster.topology.directory)
    return f"""
Three nodes are running: {" ".join(cluster.topology.endpoints)}
Look at them in a browser: {cluster.topology.endpoints[0]}/ui

Try:
  . {activate}
  eval "$(kv cluster env --dir {where})"
  kv get {example} | head -n 3
  kv put greeting "hello" && kv get greeting
  kv cluster kill leader && kv put greeting "still here" && kv cluster up

Stop them, and delete their data:
  kv cluster down --purge --dir {where}"""


def _path_from_here(path: Path) -> str:
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default="kv-quickstart",
    show_default=True,
    help="Directory of the cluster.",
)
def main(directory: Path) -> None:
    """Start three nodes, load them, kill their leader, restart them, and check that nothing was lost.

    The cluster goes on running. Exit code 0 only if every acknowledged write is there through every node.
    """
    began = time.monotonic()
    story, ledger = Story(), Ledger()
    if (directory / FILE_NAME).exists():
        output.message(f"using the cluster in {directory} again; what else is in it stays")
    try:
        cluster = bring_up(directory, NODES, progress=output.message)
    except LocalError as error:
        output.message(str(error))
        sys.exit(error.exit_code)
    try:
        asyncio.run(run(cluster, story, ledger))
    except (KvError, LocalError, NotConverged) as error:
        story.problem = str(error)
    except KeyboardInterrupt:
        output.message(f"interrupted; the nodes go on. Stop them: kv cluster down --purge --dir {directory}")
        sys.exit(130)
    for name, value in rows(story, time.monotonic() - began):
        click.echo(f"{name:<32}{value}")
    for finding in [finding for audit in story.audits for finding in audit.findings][:_SHOWN]:
        output.message(f"{finding.kind}: {finding.key!r}, {finding.where}: {finding.detail}")
    if story.problem is not None:
        output.message(f"did not finish: {story.problem}")
    click.echo(_how_to_go_on(cluster, "python-{}.{}.{}/1/this.py".format(*sys.version_info[:3])))
    sys.exit(0 if story.good else 1)


if __name__ == "__main__":
    main()
