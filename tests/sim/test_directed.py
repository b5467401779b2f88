"""Directed schedules: what random search does not meet, and what every run should show."""

import asyncio
import inspect

import pytest

from kvjepsen.mutants import MUTANTS
from kvstore import limits
from kvstore.consensus import membership, rules
from kvstore.consensus.messages import Append, Call, SnapshotChunk
from kvstore.errors import KvError
from kvstore.model.levels import Level
from kvstore.testing import InvariantBroken, SimCluster
from kvstore.testing.cluster import SIM_SETTINGS
from kvstore.testing.process import silence_logs

NODES = ("n1", "n2", "n3")


def put(cluster: SimCluster, name: str, key: bytes, level: Level = Level.QUORUM, timeout_s: float = 2.0):
    return cluster.call(name, lambda node: node.put(key, b"value", level=level, condition=None, timeout_s=timeout_s))


def follower(cluster: SimCluster) -> str:
    return next(name for name in NODES if name != cluster.leader())


def isolate(cluster: SimCluster, name: str) -> None:
    cluster.partition([name], [other for other in NODES if other != name])


def returns(cluster: SimCluster, times: int) -> tuple[int, int]:
    """Elections and the rise of the term while a follower is isolated for a minute, and returns, so many times."""
    elections, away = cluster.invariants.elections_total, follower(cluster)
    term = cluster.node(away).engine.term
    for _ in range(times):
        isolate(cluster, away)
        cluster.run_for(60.0)
        cluster.network.heal_all()
        cluster.run_for(3.0)
        assert cluster.converged()
    return cluster.invariants.elections_total - elections, cluster.node(away).engine.term - term


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.long)])
def test_an_isolated_node_returns_without_an_election(cluster, times):
    assert returns(cluster, times) == (0, 0)


def test_without_pre_vote_an_isolated_node_raises_the_term(cluster):
    with MUTANTS["no-pre-vote"]():
        elections, terms = returns(cluster, 3)
    assert elections >= 3
    assert terms >= 3 * 10  # an attempt every half a second, until its connections have timed out


def test_a_minority_refuses_and_a_majority_goes_on(cluster):
    old = cluster.leader()
    isolate(cluster, old)
    cluster.run_for(2.0)
    with pytest.raises(KvError) as refused:
        cluster.run(put(cluster, old, b"k"))
    assert refused.value.outcome == "not_applied"
    others = [name for name in NODES if name != old]
    assert cluster.leader() in others
    assert cluster.run(put(cluster, others[0], b"k")).revision == 1


def test_a_whole_cluster_that_loses_power_keeps_what_it_acknowledged(cluster):
    for number in range(20):
        cluster.run(put(cluster, NODES[number % 3], b"k%d" % number))
    for name in NODES:
        cluster.power_off(name, lambda _states: 0)
    cluster.start_all()
    cluster.run_for(3.0)
    answer = cluster.run(
        cluster.call("n1", lambda node: node.get(b"k19", level=Level.QUORUM, min_revision=None, timeout_s=2.0))
    )
    assert answer.record.mod_revision == 20


def test_an_answer_to_a_former_process_is_not_taken_for_one_to_this(cluster):
    """A node restarts while the leader still works on what it had asked for, and asks for something else."""
    asking = follower(cluster)
    asked = put(cluster, asking, b"from the former process")
    cluster.run_for(0.004)
    cluster.kill(asking)
    cluster.start(asking)
    cluster.run_for(2.0)
    assert asked.done()
    ids = cluster.node(asking)._calls._next_id
    assert ids > 1 << 32


def test_a_lost_answer_to_a_snapshot_piece_does_not_end_its_sending(cluster, monkeypatch):
    """The follower's answers are lost while the pieces arrive: its own connection to the leader is gone meanwhile."""
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_BYTES", 300)
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNKS_AHEAD_MAX", 2)
    away, leader = follower(cluster), cluster.leader()
    cluster.kill(away)
    for number in range(400):
        cluster.run(put(cluster, leader, b"k%d" % (number % 50)))
    cluster.run_for(1.0)
    assert cluster.node(leader).compaction.taken_total > 0
    cluster.start(away)
    for _ in range(200):
        # Only what the follower says is lost, never what it hears.
        cluster.network.reset(away, leader)
        cluster.run_for(0.003)
    cluster.run_for(5.0)
    assert cluster.converged()


def test_a_follower_without_room_for_a_snapshot_is_asked_now_and_then_and_gets_it_once_it_has_room(cluster):
    away, leader = follower(cluster), cluster.leader()
    cluster.kill(away)
    for number in range(400):
        cluster.run(put(cluster, leader, b"k%d" % (number % 50)))
    cluster.run_for(1.0)
    assert cluster.node(leader).compaction.taken_total > 0
    isolate(cluster, away)
    cluster.start(away)
    cluster.run_for(0.1)
    disk = cluster.disks[away]
    disk.capacity_bytes -= disk.free_bytes("")
    cluster.network.heal_all()
    cluster.run_for(1.0)
    asked = chunks_sent(cluster, leader)
    cluster.run_for(10.0)
    assert 8 <= len(asked) <= 12, "about one a second"
    assert cluster.node(away).engine.leader == leader, "and all else goes on"
    disk.capacity_bytes = 1 << 40
    cluster.run_for(3.0)
    assert cluster.converged()


def chunks_sent(cluster: SimCluster, name: str) -> list[SnapshotChunk]:
    """Collects the pieces of snapshots that `name` sends from now on."""
    transport = cluster.processes[name].transport
    sent: list[SnapshotChunk] = []
    send = transport.send

    def note(peer, message):
        if isinstance(message, SnapshotChunk):
            sent.append(message)
        return send(peer, message)

    transport.send = note
    return sent


def test_a_rolling_restart_keeps_every_write(cluster):
    done: list[int] = []

    async def write() -> None:
        for number in range(60):
            name = NODES[number % 3]
            while True:
                try:
                    done.append((await put(cluster, name, b"k%d" % number)).revision)
                    break
                except Exception:
                    name = NODES[(NODES.index(name) + 1) % 3]
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.05)

    async def restart() -> None:
        for name in NODES:
            await asyncio.sleep(0.5)
            await cluster.stop(name)
            await asyncio.sleep(0.1)
            cluster.start(name)

    cluster.run(asyncio.wait_for(_both(cluster, write, restart), 60.0))
    assert len(done) == 60


async def _both(cluster, *parts) -> None:
    for task in [cluster.loop.create_task(part()) for part in parts]:
        await task


def members(cluster: SimCluster, name: str):
    return cluster.node(name).engine.configuration


def test_two_requests_to_add_one_member_add_it_once(cluster):
    leader = cluster.leader()
    requests = [
        cluster.call(leader, lambda node: node.membership.add("n4", "n4:8481", 2.0)),
        cluster.call(leader, lambda node: node.membership.add("n4", "n4:8481", 2.0)),
    ]
    outcomes = cluster.run(asyncio.wait_for(_outcomes(requests), 5.0))
    assert sorted(str(outcome) for outcome in outcomes) == ["None", "n4 is a member already"]
    assert members(cluster, leader).names == ("n1", "n2", "n3", "n4")


def test_a_transfer_to_a_member_that_is_removed_meanwhile_is_given_up(cluster):
    leader, target = cluster.leader(), follower(cluster)
    isolate(cluster, target)
    transfer = cluster.call(leader, lambda node: node.membership.transfer(target, 2.0))
    removal = cluster.call(leader, lambda node: node.membership.remove(target, 2.0))
    outcomes = cluster.run(asyncio.wait_for(_outcomes([transfer, removal]), 5.0))
    assert all(outcome is None or isinstance(outcome, KvError) for outcome in outcomes)
    assert cluster.run(put(cluster, cluster.leader(), b"k")).revision == 1


def test_the_last_voter_commits_a_change_only_once_it_is_durable(cluster):
    """Two removals; the second makes the leader the only voter. The invariants look at every step of it."""
    leader = cluster.leader()
    for name in [name for name in NODES if name != leader]:
        cluster.run(cluster.call(leader, lambda node, name=name: node.membership.remove(name, 2.0)))
    assert members(cluster, leader).voters == (leader,)
    assert cluster.run(put(cluster, leader, b"k")).revision == 1


def test_a_learner_that_has_fallen_silent_is_not_promoted(monkeypatch):
    silence_logs()
    cluster = SimCluster(NODES, seed=1, spares=("n4",))
    cluster.start_all()
    cluster.run_for(2.0)
    monkeypatch.setattr(membership, "PROMOTE_ENTRIES_MAX", -1)  # nobody is near enough
    leader = cluster.leader()
    cluster.run(cluster.call(leader, lambda node: node.membership.add("n4", "n4:8481", 2.0)))
    cluster.start("n4")
    cluster.run_for(2.0)
    assert members(cluster, leader).member("n4").identity, "it has been met"
    cluster.partition(["n4"], NODES)
    cluster.run_for(1.0)
    monkeypatch.undo()
    cluster.run_for(2.0)
    assert "n4" not in members(cluster, leader).voters, "it would be one more voter whom nobody can reach"
    cluster.network.heal_all()
    cluster.run_for(3.0)
    assert "n4" in members(cluster, leader).voters
    cluster.close()


def test_a_member_that_is_added_again_is_bound_to_the_directory_that_answers(cluster):
    """Its host is lost without a word, so the leader still has the connection to the directory that is gone."""
    leader, lost = cluster.leader(), follower(cluster)
    cluster.wipe(lost)
    removal = cluster.call(leader, lambda node: node.membership.remove(lost, 2.0, force=True))
    cluster.run(removal)
    cluster.run(cluster.call(leader, lambda node: node.membership.add(lost, f"{lost}:8481", 2.0)))
    assert cluster.node(leader).engine.peer(lost) is not None, "as far as the leader's host knows"
    cluster.run_for(0.3)
    assert members(cluster, leader).member(lost).identity == "", "nobody has answered"
    cluster.start(lost)
    cluster.run_for(8.0)
    assert members(cluster, leader).member(lost).identity == cluster.processes[lost].transport._hub.hello.identity
    assert lost in members(cluster, leader).voters
    assert cluster.converged()


def test_a_process_that_ends_while_it_reads_begins_nothing_more(cluster, monkeypatch):
    """Its disk fails at the first of two messages that came together; the second is a call."""
    monkeypatch.setattr(limits, "INBOX_MESSAGES_MAX", 1)  # each message is a step at once
    failing, leader = follower(cluster), cluster.leader()
    process = cluster.processes[failing]
    engine = cluster.node(failing).engine
    term, index = engine.term, engine.status().last_index
    cluster.expected_failures.add(failing)
    cluster.disks[failing].failing["sync"] = 5

    def read() -> None:
        append = Append(term, 10**6, index, term, index, False, False, [(term, b"\x01")], 0, 0)
        process.node.peer_message(leader, append)
        assert failing not in cluster.processes
        process.node.peer_message(leader, Call(1, "drain", []))

    process.loop.call_soon(read)
    cluster.run_for(0.1)
    begun = [task.get_coro() for task in process.node._calls._tasks]
    assert [inspect.getcoroutinestate(coroutine) for coroutine in begun] == [inspect.CORO_CLOSED]


def restart_empty(cluster: SimCluster, *names: str) -> None:
    """These members lose their disks, all of them before any comes back, and come back with their old flags."""
    for name in names:
        cluster.wipe(name)
    cluster.wiped.clear()
    for name in names:
        cluster.start(name)


def test_a_majority_that_has_lost_its_disks_founds_no_empty_cluster_beside_the_log_that_is_left(cluster):
    for number in range(10):
        cluster.run(put(cluster, NODES[number % 3], b"k%d" % number, Level.ALL))
    left = cluster.leader()
    lost = [name for name in NODES if name != left]
    restart_empty(cluster, *lost)
    cluster.run_for(30.0)
    assert cluster.leader() is None
    for name in lost:
        assert left in cluster.node(name).engine.waits_for
        with pytest.raises(KvError, match="waits for") as refused:
            cluster.run(put(cluster, name, b"k"))
        assert refused.value.outcome == "not_applied"
    assert len(cluster.node(left).machine) == 10


def test_nor_do_they_while_the_one_that_is_left_is_down(cluster):
    cluster.run(put(cluster, "n1", b"k", Level.ALL))
    left, lost = NODES[0], NODES[1:]
    cluster.kill(left)
    restart_empty(cluster, *lost)
    cluster.run_for(30.0)
    assert cluster.leader() is None
    assert [cluster.node(name).engine.waits_for for name in lost] == [(left,), (left,)]


@pytest.mark.parametrize("incomplete", [False, True])
def test_the_first_election_of_a_new_cluster_waits_for_all_its_members_unless_told_not_to(incomplete):
    silence_logs()
    cluster = SimCluster(NODES, seed=1, settings=SIM_SETTINGS._replace(bootstrap_incomplete=incomplete))
    cluster.start("n1")
    cluster.start("n2")
    cluster.run_for(20.0)
    if incomplete:
        assert cluster.run(put(cluster, "n1", b"k")).revision == 1
    else:
        assert cluster.leader() is None
        assert cluster.node("n1").engine.waits_for == ("n3",)
        with pytest.raises(KvError, match="waits for n3"):
            cluster.run(put(cluster, "n1", b"k"))
    cluster.start("n3")
    cluster.run_for(1.0)
    assert cluster.run(put(cluster, "n3", b"l", Level.ALL)).acked == 3
    cluster.kill("n3")
    cluster.kill("n1")
    cluster.start("n3")
    cluster.run_for(2.0)
    assert cluster.run(put(cluster, "n2", b"m")).outcome == "committed", "n3 has a log now, and votes"
    cluster.close()


async def _outcomes(requests):
    return await asyncio.gather(*requests, return_exceptions=True)


class Divergence:
    """Five nodes. The old leader has given entries to one follower only, whose answers stall; the others elect another
    leader and commit something else in their place.
    """

    def __init__(self) -> None:
        silence_logs()
        self.cluster = cluster = SimCluster(("n1", "n2", "n3", "n4", "n5"), seed=1)
        cluster.start_all()
        cluster.run_for(2.0)
        self.old = cluster.leader()
        self.follower, *self.others = [name for name in cluster.names if name != self.old]
        cluster.run(put(cluster, self.old, b"common"))
        cluster.run_for(0.3)
        self.common = cluster.node(self.follower).engine.status().last_index
        cluster.partition([self.old, self.follower], self.others)
        cluster.network.block(self.follower, self.old)
        for number in range(12):
            put(cluster, self.old, b"k%d" % number, timeout_s=0.5)
            cluster.run_for(0.01)
        cluster.run_for(1.5)
        self.stalled = cluster.node(self.follower).engine.status().last_index
        assert self.stalled > self.common
        self.new = cluster.leader()
        assert self.new in self.others
        cluster.run(put(cluster, self.new, b"elsewhere"))

    def follow_the_new_leader(self) -> None:
        for name in self.others:
            for member in (self.old, self.follower):
                self.cluster.network.heal(name, member)
                self.cluster.network.heal(member, name)
        self.cluster.run_for(1.0)
        assert self.cluster.node(self.follower).engine.leader == self.new


def stale_reply() -> None:
    """An answer of a former term arrives when its receiver leads again: entries that its sender holds no more count."""
    made = Divergence()
    cluster, old, near = made.cluster, made.old, next(name for name in made.others if name != made.new)
    made.follow_the_new_leader()
    cluster.run(cluster.call(made.new, lambda node: node.membership.transfer(old, 1.0)))
    cluster.run_for(0.3)
    assert cluster.leader() == old
    far = [name for name in cluster.names if name not in (old, near)]
    for name in far:
        for source, target in ((old, name), (near, name), (name, near), (name, old)):
            cluster.network.block(source, target)
    for number in range(12):
        put(cluster, old, b"%d" % number, timeout_s=0.5)
        cluster.run_for(0.01)
    assert cluster.node(near).engine.status().last_index >= made.stalled
    cluster.network.release_s_max = 0.0
    cluster.network.heal(made.follower, old)
    cluster.run_for(0.2)
    cluster.close()


def test_an_answer_of_a_former_term_counts_for_nothing():
    stale_reply()


def test_without_rule_4_it_commits_what_no_majority_holds():
    with MUTANTS["termless-replies"](), pytest.raises(InvariantBroken, match="commit safety"):
        stale_reply()


def early_commit() -> None:
    """A heartbeat that matches the common part of two logs tells a commit index beyond it."""
    made = Divergence()
    member, leader = made.cluster.node(made.follower).engine, made.cluster.node(made.new).engine
    term = rules.term_at(member._journal.entries, made.common)
    commit = leader.status().commit_index
    assert commit > made.common
    sample = Append(leader.term, 1, made.common, term, commit, sync_commit=False, reserve=False, entries=[])
    member.peer_message(made.new, sample)
    made.cluster.run_for(0.01)
    made.cluster.close()


def test_a_commit_index_beyond_what_matches_waits():
    early_commit()


def test_without_rule_2_it_commits_what_the_leader_never_sent():
    with MUTANTS["commit-beyond-match"](), pytest.raises(InvariantBroken, match="state machine safety"):
        early_commit()
