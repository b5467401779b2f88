"""Benches of real clusters in temporary directories; stopped and deleted at the end, kept with their logs if broken."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from kvcluster.lifecycle import bring_up, purge
from kvcluster.supervisor import NO_ENV, PROGRAM, Cluster
from kvjepsen.odds.lifetimes import Lives
from kvjepsen.odds.live import Live, election_settings
from kvjepsen.odds.overtime import REAL, Lived, Probing, live_through
from kvjepsen.odds.plan import Fault
from kvjepsen.threads import in_thread
from kvstore.errors import LocalError

LiveBenches = Callable[[int], AbstractAsyncContextManager[Live]]


def live_benches(
    fault: Fault, progress: Callable[[str], None], program: str = PROGRAM, more_env: Mapping[str, str] = NO_ENV
) -> LiveBenches:
    """Opens clusters of so many nodes. `program`: see kvcluster.supervisor.Cluster; `more_env`: for its nodes."""
    env = {**election_settings(), **more_env}

    @asynccontextmanager
    async def bench(n: int) -> AsyncIterator[Live]:
        directory = Path(tempfile.mkdtemp(prefix=f"kv-odds-{n}-"))
        broken = False
        try:
            cluster = await in_thread(
                bring_up, directory, n, env=env, proxy=fault == "isolate" and n > 1, program=program
            )
            yield Live(cluster, fault, int(env["KV_ELECTION_MS_MAX"]))
        except LocalError:
            broken = True
            raise
        finally:
            await in_thread(_end, directory, progress, kept=broken)

    return bench


async def live_over_time(lives: Lives, progress: Callable[[str], None], probing: Probing = REAL) -> Lived | str:
    """The lives of the nodes of one cluster; in one line, what broke if it did not come back."""
    try:
        async with live_benches("kill", progress)(lives.n) as ground:
            return await live_through(ground, lives, probing)
    except LocalError as broken:
        return f"over time, n{lives.n}: {broken}"


def _end(directory: Path, progress: Callable[[str], None], *, kept: bool) -> None:
    if not (directory / "cluster.json").exists():
        shutil.rmtree(directory)
        return
    cluster = Cluster.open(directory)
    for name in cluster.topology.processes:
        cluster.kill(name)
    if kept:
        progress(f"data and logs of the cluster that broke are kept in {directory}")
    else:
        purge(cluster)
