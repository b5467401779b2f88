"""A simulated cluster as the ground of trials: the real nodes on virtual time, a new cluster for every trial.

What happens in a trial depends on its id and the seed alone, in whatever order and in however many processes trials
are made. Seconds are virtual.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import Final

from kvjepsen.campaign import collected_by_hand
from kvjepsen.odds.health import Health, health
from kvjepsen.odds.lifetimes import Lives
from kvjepsen.odds.observation import Observation, Results
from kvjepsen.odds.overtime import SIMULATED, Lived, Probing, live_through
from kvjepsen.odds.plan import Fault, Trial, names
from kvjepsen.odds.running import unreached
from kvjepsen.odds.trial import NoAnswer, carry_out
from kvjepsen.odds.writing import NOBODY_LISTENS, Attempt
from kvstore.errors import CannotConnect, ConnectionLost, KvError, LocalError, NotFound
from kvstore.model.commands import Once
from kvstore.model.levels import Level
from kvstore.node.deadlines import Expired
from kvstore.node.service import Node
from kvstore.testing import InvariantBroken, NodeFailed, NothingLeft, OutOfTime, SimCluster
from kvstore.testing.process import silence_logs

BATCH_TRIALS: Final = 20
_ASK_S: Final = 1.0
_READ_S: Final = 5.0
_TRIAL_S_MAX: Final = 300.0
_NO_ANSWER: Final = (KvError, CannotConnect, ConnectionLost, TimeoutError, Expired)
_BROKEN: Final = (InvariantBroken, NodeFailed, NothingLeft, OutOfTime)


class Simulated:
    """The nodes of one SimCluster."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    @property
    def names(self) -> Sequence[str]:
        return self._cluster.names

    async def health(self) -> Health:
        """Seen from outside at no cost, but for what the leader says in the end."""
        nodes = [node for name in self.names if (node := self._cluster.node(name)) is not None]
        if len(nodes) < len(self.names) or not self._cluster.linked():
            return Health(None, "not all nodes are connected")
        leaders = {(status.leader, status.term) for status in (node.engine.status() for node in nodes)}
        (leader, _), *others = leaders
        if others or leader is None:
            return Health(None, f"the nodes name {sorted(str(name) for name, _ in leaders)} as leaders")
        try:
            return health([await asyncio.wait_for(self._cluster.call(leader, Node.cluster), _ASK_S)])
        except _NO_ANSWER:
            return health([None])

    async def transfer(self, leader: str, to: str) -> None:
        try:
            request = partial(Node.transfer_leader, name=to, timeout_s=_ASK_S)
            await asyncio.wait_for(self._cluster.call(leader, request), _ASK_S)
        except _NO_ANSWER:
            return  # who leads is asked next in any case

    async def fail(self, failed: Sequence[str], fault: Fault) -> None:
        for name in failed:
            match fault:
                case "kill":
                    self._cluster.kill(name)
                case "pause":
                    self._cluster.pause(name)
                case "isolate":
                    for other in self.names:
                        if other != name:
                            self._cluster.network.block(name, other)
                            self._cluster.network.block(other, name)

    async def restore(self, failed: Sequence[str], fault: Fault) -> None:
        for name in failed:
            if fault == "kill":
                self._cluster.start(name)
            elif fault == "pause":
                self._cluster.resume(name)
        self._cluster.network.heal_all()

    async def revive(self, name: str) -> None:
        """Start `name` again."""
        self._cluster.start(name)

    async def attempt(self, name: str, key: str, value: bytes, level: str, left_s: float) -> Attempt:
        once: Once = key.encode()

        async def put(node: Node) -> str | None:
            written = await node.put(
                key.encode(), value, level=Level(level), condition=None, once=once, timeout_s=left_s
            )
            return written.receipt

        try:
            receipt = await asyncio.wait_for(self._cluster.call(name, put), left_s)
        except KvError as error:
            return Attempt("refused" if error.outcome == "not_applied" else "unknown", error.code)
        except CannotConnect:
            return Attempt("refused", NOBODY_LISTENS)
        except (ConnectionLost, TimeoutError):
            return Attempt("unknown", "silent")
        return Attempt("acknowledged", receipt=receipt)

    async def read(self, name: str, key: str) -> bytes | None:
        request = partial(Node.get, key=key.encode(), level=Level.QUORUM, max_staleness_s=None, timeout_s=_READ_S)
        try:
            found = await asyncio.wait_for(self._cluster.call(name, request), _READ_S)
        except NotFound:
            return None
        except _NO_ANSWER as error:
            raise NoAnswer(repr(error)) from error
        return None if found.record is None else found.record.value

    async def receipt(self, name: str, receipt: str) -> str:
        request = partial(Node.receipt, text=receipt, timeout_s=_READ_S)
        try:
            return (await asyncio.wait_for(self._cluster.call(name, request), _READ_S)).state
        except _NO_ANSWER as error:
            raise NoAnswer(repr(error)) from error


def simulate(trial: Trial, fault: Fault, seed: int) -> Observation | str:
    """The trial on a cluster of its own; what broke, in one line, if a rule of the store itself did."""
    silence_logs()
    cluster = SimCluster(names(trial.n), seed=f"odds {seed} {fault} {trial.id}")
    try:
        cluster.start_all()
        work = carry_out(Simulated(cluster), trial, fault, int(cluster.settings.election_s_max * 1_000))
        return cluster.run(work, timeout_s=_TRIAL_S_MAX)
    except (*_BROKEN, LocalError) as broken:
        return f"{trial.id}: {type(broken).__name__}: {broken}"
    finally:
        cluster.close()


def simulate_over_time(lives: Lives, probing: Probing = SIMULATED) -> Lived | str:
    """The lives of the nodes of one cluster, in virtual time; what broke, in one line, if a rule of the store did."""
    silence_logs()
    cluster = SimCluster(names(lives.n), seed=f"lives {lives.seed} {lives.n}")
    try:
        cluster.start_all()
        # Looking for what was acknowledged takes its own time.
        return cluster.run(live_through(Simulated(cluster), lives, probing), timeout_s=2 * lives.seconds + _TRIAL_S_MAX)
    except (*_BROKEN, LocalError) as broken:
        return f"over time, n{lives.n}: {type(broken).__name__}: {broken}"
    finally:
        cluster.close()


def run(
    plan: Sequence[Trial],
    results: Results,
    fault: Fault,
    seed: int,
    *,
    jobs: int,
    budget_s: float,
    each: Callable[[], None] = lambda: None,
) -> None:
    """Make the trials of `plan` that `results` does not have, until `budget_s` real seconds are over."""
    until = time.monotonic() + budget_s
    for found in simulate_all(unreached(plan, results), fault, seed, jobs=jobs):
        if isinstance(found, str):
            results.add_problem(found)
        else:
            results.add(found)
        each()
        if time.monotonic() >= until:
            return


def simulate_all(trials: Sequence[Trial], fault: Fault, seed: int, *, jobs: int = 1) -> Iterator[Observation | str]:
    """What each of `trials` shows, in no order when `jobs` processes work on them."""
    rest = iter(trials)
    batches = iter(lambda: list(islice(rest, BATCH_TRIALS)), [])
    one: Callable[[list[Trial]], list[Observation | str]] = partial(_batch, fault=fault, seed=seed)
    if jobs == 1:
        for batch in batches:
            yield from one(batch)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        under_way: set[Future[list[Observation | str]]] = {pool.submit(one, each) for each in islice(batches, 2 * jobs)}
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                under_way |= {pool.submit(one, each) for each in islice(batches, len(done))}
                for future in done:
                    yield from future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _batch(trials: list[Trial], fault: Fault, seed: int) -> list[Observation | str]:
    with collected_by_hand():
        return [simulate(trial, fault, seed) for trial in trials]
