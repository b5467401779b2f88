"""Watches in the simulator: every change once and in order, on any node, whatever happens to the nodes."""

import asyncio
import random

import pytest

from kvstore import limits
from kvstore.errors import Compacted, KvError, Overloaded
from kvstore.model.commands import OP_PUT
from kvstore.model.levels import Level
from kvstore.model.results import Change
from kvstore.model.transactions import transaction
from kvstore.node.service import Node
from kvstore.node.watches import Ended, Watch
from kvstore.testing import SimCluster
from kvstore.testing.process import silence_logs

NODES = ("n1", "n2", "n3")


def put(cluster: SimCluster, key: bytes, value: bytes = b"v") -> int:
    answer = cluster.run(
        cluster.call(cluster.leader() or "n1", lambda node: node.put(key, value, level=Level.QUORUM, timeout_s=5.0))
    )
    assert answer.revision is not None
    return answer.revision


class Reader:
    """Reads a watch on one node into a list."""

    def __init__(self, cluster: SimCluster, name: str, key: bytes, *, prefix: bool, start: int | None) -> None:
        self.seen: list[Change] = []
        self.ended: Ended | KvError | None = None
        self.slow = False

        async def read(node: Node) -> None:
            try:
                watch = await node.watch(key, prefix=prefix, start=start, timeout_s=5.0)
            except KvError as refused:
                self.ended = refused
                return
            loop = asyncio.get_running_loop()
            while self.ended is None:
                if self.slow:
                    await asyncio.sleep(0.01)
                    continue
                told = await watch.changes(loop.time() + 1.0)
                if isinstance(told, Ended):
                    self.ended = told
                else:
                    self.seen += told

        self.future = cluster.call(name, read)

    @property
    def told(self) -> list[tuple[int, bytes, bytes | None]]:
        return [(each.revision, each.key, each.record and each.record.value) for each in self.seen]


def test_a_watch_on_every_node_tells_every_change_of_its_keys_in_order(cluster: SimCluster) -> None:
    readers = [Reader(cluster, name, b"a/", prefix=True, start=None) for name in NODES]
    one = Reader(cluster, "n2", b"a/1", prefix=False, start=None)
    cluster.run_for(0.5)
    first = put(cluster, b"a/1", b"x")
    put(cluster, b"b", b"not theirs")
    put(cluster, b"a/2", b"y")
    steps = tuple((OP_PUT, key, b"t", 0) for key in (b"a/3", b"c", b"a/1"))
    cluster.run(
        cluster.call(
            "n1", lambda node: node.transactions.transact(transaction((), steps, ()), level=Level.QUORUM, timeout_s=5.0)
        )
    )
    cluster.run(cluster.call("n3", lambda node: node.delete(b"a/2", level=Level.QUORUM, timeout_s=5.0)))
    cluster.run_for(1.0)
    expected = [
        (first, b"a/1", b"x"),
        (first + 2, b"a/2", b"y"),
        (first + 3, b"a/1", b"t"),
        (first + 3, b"a/3", b"t"),
        (first + 4, b"a/2", None),
    ]
    for reader in readers:
        assert reader.told == expected
    assert one.told == [row for row in expected if row[1] == b"a/1"]
    assert [each.previous and each.previous.value for each in one.seen] == [None, b"x"]


def test_a_watch_from_the_past_meets_the_present_without_a_gap(cluster: SimCluster) -> None:
    revisions = [put(cluster, b"k", b"%d" % number) for number in range(20)]
    reader = Reader(cluster, "n2", b"k", prefix=False, start=revisions[5])
    revisions += [put(cluster, b"k", b"%d" % number) for number in range(20, 40)]
    cluster.run_for(1.0)
    assert [row[0] for row in reader.told] == revisions[5:]
    assert [row[2] for row in reader.told] == [b"%d" % number for number in range(5, 40)]


def test_a_watch_begins_with_what_is_written_after_it_was_answered(cluster: SimCluster) -> None:
    """Also on a node that is behind: nothing of before is told as if it were new."""
    behind = next(name for name in NODES if name != cluster.leader())
    cluster.partition([behind], [name for name in NODES if name != behind])
    before = put(cluster, b"k", b"before")
    reader = Reader(cluster, behind, b"k", prefix=False, start=None)
    cluster.run_for(0.2)
    cluster.network.heal_all()
    cluster.run_for(3.0)
    after = put(cluster, b"k", b"after")
    cluster.run_for(1.0)
    assert reader.told == [(after, b"k", b"after")]
    assert after == before + 1


def test_what_is_compacted_is_refused_and_said(cluster: SimCluster) -> None:
    last = [put(cluster, b"k") for _ in range(5)][-1]
    cluster.run(cluster.call("n1", lambda node: node.transactions.compact(last - 1, timeout_s=5.0)))
    cluster.run_for(0.5)
    old, new = (Reader(cluster, "n3", b"k", prefix=False, start=start) for start in (last - 1, last))
    cluster.run_for(0.5)
    assert isinstance(old.ended, Compacted)
    assert [row[0] for row in new.told] == [last]


def test_a_reader_that_is_too_slow_is_told_where_to_go_on(cluster: SimCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_QUEUE_CHANGES_MAX", 5)
    reader = Reader(cluster, "n1", b"", prefix=True, start=None)
    cluster.run_for(0.5)
    first = put(cluster, b"k")
    cluster.run_for(0.5)
    reader.slow = True
    cluster.run_for(1.5)
    revisions = [put(cluster, b"k") for _ in range(9)]
    reader.slow = False
    cluster.run_for(0.5)
    assert [row[0] for row in reader.told] == [first]
    assert reader.ended == Ended("lagged", revisions[0])
    again = Reader(cluster, "n1", b"", prefix=True, start=revisions[0])
    cluster.run_for(0.5)
    assert [row[0] for row in again.told] == revisions


def test_a_node_that_gets_a_snapshot_ends_the_watches_that_it_cannot_go_on_with(
    cluster: SimCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = next(name for name in NODES if name != cluster.leader())
    reader = Reader(cluster, behind, b"k", prefix=False, start=None)
    cluster.run_for(0.5)
    cluster.partition([behind], [name for name in NODES if name != behind])
    for number in range(300):
        last = put(cluster, b"k", b"x" * 20_000)
        if number % 20 == 10:
            leader = cluster.leader() or "n1"
            cluster.run(cluster.call(leader, lambda node, at=last: node.transactions.compact(at, timeout_s=5.0)))
    cluster.run_for(2.0)
    cluster.network.heal_all()
    cluster.run_for(5.0)
    node = cluster.node(behind)
    assert node is not None
    assert node.compaction.installed_total >= 1
    assert reader.told == []
    assert isinstance(reader.ended, Ended)
    assert reader.ended.why == "compacted"
    again = Reader(cluster, behind, b"k", prefix=False, start=node.machine.compacted + 1)
    cluster.run_for(1.0)
    assert [row[0] for row in again.told] == list(range(node.machine.compacted + 1, node.machine.revision + 1))


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(each, marks=pytest.mark.long) for each in range(4, 60))])
def test_resumed_again_and_again_on_any_node_under_faults_it_sees_everything_once(seed: int) -> None:
    silence_logs()
    cluster = SimCluster(NODES, seed=seed)
    cluster.start_all()
    cluster.run_for(2.0)
    rng = random.Random(seed)
    written: list[int] = []
    seen: list[int] = []
    for turn in range(12):
        name = rng.choice(NODES)
        if cluster.node(name) is None:
            cluster.start(name)
        resumed_from = seen[-1] + 1 if seen else 1
        reader = Reader(cluster, name, b"k", prefix=False, start=resumed_from)
        fault = rng.choice(["kill", "isolate", "pause", "nothing"])
        victim = rng.choice(NODES)
        if fault == "kill" and cluster.node(victim) is not None:
            cluster.kill(victim)
        elif fault == "isolate":
            cluster.partition([victim], [other for other in NODES if other != victim])
        elif fault == "pause":
            cluster.pause(victim)
        cluster.run_for(1.5)
        for _ in range(rng.randrange(8)):
            try:
                written.append(put(cluster, b"k", b"%d" % turn))
            except KvError as unknown:
                if unknown.outcome != "not_applied":
                    written.clear()
                    break
        cluster.run_for(rng.random())
        seen += [row[0] for row in reader.told]
        reader.ended = Ended("closed", 0)
        cluster.network.heal_all()
        if fault == "pause":
            cluster.resume(victim)
        for each in NODES:
            if cluster.node(each) is None:
                cluster.start(each)
        cluster.run_for(3.0)
    last = Reader(cluster, "n1", b"k", prefix=False, start=seen[-1] + 1 if seen else 1)
    cluster.run_for(3.0)
    seen += [row[0] for row in last.told]
    leader = cluster.node(cluster.leader() or "n1")
    assert leader is not None
    assert seen == [revision for revision, *_ in leader.machine.changes(0, 10_000)]
    assert set(written) <= set(seen)
    cluster.close()


def test_a_node_takes_as_many_watches_as_it_promises_and_refuses_one_more(cluster: SimCluster) -> None:
    put(cluster, b"k")

    async def fill(node: Node) -> tuple[int, str]:
        async def opened(key: bytes) -> Watch:
            return await node.watch(key, prefix=False, start=1, timeout_s=5.0)

        held = [await opened(b"key%d" % number) for number in range(limits.WATCHES_MAX)]
        with pytest.raises(Overloaded) as refused:
            await opened(b"one more")
        assert refused.value.retry_after_s == 5.0
        held.pop()
        held.append(await opened(b"in its place"))
        return len({id(watch) for watch in held}), str(refused.value)

    count, said = cluster.run(cluster.call("n2", fill))
    assert count == limits.WATCHES_MAX == 8_192
    assert "8192 watches are open" in said
