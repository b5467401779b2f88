"""The faults. A scenario is a context manager: inside it the fault is there, at its end it is healed."""

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from kvstore.security import authority
from tests.alerts.lab import Lab

PASSWORD: Final = "root's password"
_BIG: Final = 1 << 20
# Less than the log after which a snapshot is due.
_SOME: Final = 64 << 10


class Scenario(NamedTuple):
    """`alerts` fire by `fault`, which `strike` brings about, in the cluster called `of`."""

    alerts: tuple[str, ...]
    fault: str
    strike: Callable[[Lab], Any]
    of: str = "three"


@contextmanager
def follower_killed(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    lab.cluster.kill(victim)
    yield
    lab.cluster.restart(victim)


@contextmanager
def follower_paused(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    lab.cluster.pause(victim)
    yield
    lab.cluster.resume(victim)


@contextmanager
def majority_killed(lab: Lab) -> Iterator[None]:
    left, *victims = lab.names
    for victim in victims:
        lab.cluster.kill(victim)
    status, _ = lab.ask(left, "PUT", "/v1/kv/one?level=one", b"1")
    assert status == 202
    with lab.meanwhile(lambda: lab.ask(left, "GET", "/v1/kv/one?timeout_ms=200")):
        yield
    lab.cluster.up()


@contextmanager
def leadership_handed_round(lab: Lab) -> Iterator[None]:
    with lab.meanwhile(lambda: lab.ask(lab.names[0], "POST", "/v1/cluster/leader", {})):
        yield


@contextmanager
def entries_to_nobody(lab: Lab) -> Iterator[None]:
    leader = lab.leader()
    lab.order(leader, entries=[[], None])
    lab.ask(leader, "PUT", "/v1/kv/stalled?timeout_ms=100", b"1")
    yield
    lab.order(leader, entries=None)


@contextmanager
def entries_to_one(lab: Lab) -> Iterator[None]:
    leader = lab.leader()
    lab.order(leader, entries=[lab.followers()[:1], None])
    lab.ask(leader, "PUT", "/v1/kv/late", b"1")
    yield
    lab.order(leader, entries=None)


@contextmanager
def slow_disk(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    lab.order(victim, slow_sync_ms=[150, 200])
    with lab.client() as client, lab.meanwhile(lambda: client.put(b"slow", b"1")):
        yield
    lab.order(victim, slow_sync_ms=[0, 0])


@contextmanager
def full_disk(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    lab.order(victim, full=True)
    noise = random.Random(1)
    with lab.client() as client, lab.meanwhile(lambda: client.put(b"filler", noise.randbytes(_BIG))):
        yield
    lab.order(victim, full=False)
    with lab.client() as client:
        client.put(b"filler", b"")  # room is noticed with the next entry


@contextmanager
def altered_memory(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    with lab.client() as client:
        client.put(b"altered", b"1", level="all")
    lab.order(victim, alter="altered")
    asked = lab.leader()
    status, told = lab.ask(asked, "GET", "/v1/kv/altered?level=all")
    assert (status, told["code"]) == (500, "divergence")
    yield
    for name in lab.names:  # memory comes from disk again, and the alarms were of the process
        lab.cluster.restart(name)


@contextmanager
def wrong_clock(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    lab.order(victim, clock=[8_000, 1.0])
    yield
    lab.order(victim, clock=[0.0, 1.0])


@contextmanager
def reader_that_does_not_read(lab: Lab) -> Iterator[None]:
    node = lab.cluster.topology.node(lab.names[0])
    host, port = node.listen.rsplit(":", 1)
    with lab.client() as client, ExitStack() as held:
        reader = held.enter_context(socket.socket())
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect((host, int(port)))
        reader.sendall(b"GET /v1/watch?prefix=lag HTTP/1.1\r\nHost: x\r\n\r\n")
        held.enter_context(lab.meanwhile(lambda: client.put(b"lag", os.urandom(_BIG)), pause_s=0.01))
        yield
    _cover_the_log(lab)


@contextmanager
def too_many_leases(lab: Lab) -> Iterator[None]:
    with lab.client() as client:
        client.change_setting("leases_max", 1_000)
    with ExitStack() as held:
        works = [lambda: lab.ask(lab.names[0], "POST", "/v1/leases", {"ttl_seconds": 60}) for _ in range(16)]
        held.enter_context(lab.meanwhile(*works, pause_s=0.01))
        yield


@contextmanager
def no_place_for_snapshots(lab: Lab) -> Iterator[None]:
    victim = lab.followers()[0]
    there = lab.cluster.topology.data_dir(victim) / "snapshots"
    aside = there.with_name("aside")
    there.rename(aside)
    with lab.client() as client, lab.meanwhile(lambda: client.put(b"grows", os.urandom(_SOME))):
        yield
    aside.rename(there)
    _cover_the_log(lab)


@contextmanager
def strangers(lab: Lab) -> Iterator[None]:
    door = lab.names[0]
    lab.ask(door, "POST", "/v1/auth/enable", {"password": PASSWORD})
    with lab.meanwhile(lambda: lab.ask(door, "GET", "/v1/kv/a"), lambda: lab.ask(door, "GET", "/v1/kv/b")):
        yield
    _, told = lab.ask(door, "POST", "/v1/auth/token", {"user": "root", "password": PASSWORD})
    status, _ = lab.ask(door, "POST", "/v1/auth/disable", token=told["token"])
    assert status == 200


@contextmanager
def certificate_of_a_week(lab: Lab) -> Iterator[None]:
    tls = lab.cluster.topology.tls
    assert tls is not None
    authority.make_node(tls.directory, "n1", days=7, force=True)
    yield
    authority.make_node(tls.directory, "n1", force=True)


@contextmanager
def backups_without_a_place(lab: Lab) -> Iterator[None]:
    there = backup_dir(lab.cluster.topology.directory)
    aside = there.with_name("backups-aside")
    with lab.client() as client, lab.meanwhile(lambda: client.put(b"a", b"1"), pause_s=0.2):
        there.rename(aside)
        _put_in_the_way(there)
        yield
        there.unlink()
        aside.rename(there)


@contextmanager
def keys_destroyed(lab: Lab) -> Iterator[None]:
    file = key_file(lab.cluster.topology.directory)
    right = file.read_bytes()
    _put(file, b"20261130 this is no key\n")
    yield
    _put(file, right)


def _cover_the_log(lab: Lab) -> None:
    """Write until a snapshot is due, and once more: it covers what a larger write has left behind."""
    with lab.client() as client:
        for _ in range(20):
            client.put(b"grows", os.urandom(_SOME))


def backup_dir(directory: Path) -> Path:
    """Where the nodes of the cluster in `directory` put their backups."""
    return directory / "backups"


def key_file(directory: Path) -> Path:
    """Where their keys are."""
    return directory / "keys"


def _put_in_the_way(path: Path) -> None:
    """A file, instead of a directory that whoever needs it makes again whenever it is not there."""
    while True:
        try:
            with path.open("x") as file:
                file.write("a file is in the way")
        except FileExistsError:
            shutil.rmtree(path, ignore_errors=True)
        else:
            return


def _put(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)


SCENARIOS: Final = (
    Scenario(("KvDivergence",), "one bit of a value in a follower's memory is flipped", altered_memory),
    Scenario(("KvNodeDown", "KvQuorumMarginZero"), "kill -9 of a follower of three", follower_killed),
    Scenario(("KvMemberUnreachable",), "SIGSTOP of a follower", follower_paused),
    Scenario(
        ("KvNoLeader", "KvRequestsFail", "KvIntentsStuck"),
        "kill -9 of two of three; a write at level one and reads at the third",
        majority_killed,
    ),
    Scenario(("KvLeaderChangesOften",), "leadership is handed round", leadership_handed_round),
    Scenario(("KvCommitStalled",), "the leader's entries reach nobody, its heartbeats do", entries_to_nobody),
    Scenario(("KvMemberStale",), "the leader's entries do not reach one follower", entries_to_one),
    Scenario(("KvFsyncSlow",), "every fsync of a follower takes 150 to 200 ms longer", slow_disk),
    Scenario(("KvClockDrift",), "the clock of a follower is 8 s ahead", wrong_clock),
    Scenario(("KvWatchesLag",), "a watch whose reader does not read", reader_that_does_not_read),
    Scenario(
        ("KvSnapshotsFail", "KvJournalGrows"), "the directory of a follower's snapshots is gone", no_place_for_snapshots
    ),
    Scenario(("KvRequestsRefused",), "more leases are asked for than there may be", too_many_leases),
    Scenario(("KvDiskNearlyFull", "KvStorageFull"), "a follower's disk has no room (ENOSPC)", full_disk),
    Scenario(("KvAuthRefused",), "auth is enabled, and somebody asks without a token", strangers),
    Scenario(("KvCertificateExpires",), "a certificate that ends in a week", certificate_of_a_week, of="one"),
    Scenario(("KvBackupFailed",), "a file is where the backups should go", backups_without_a_place, of="one"),
    Scenario(("KvEncryptionKeys",), "the file of keys holds none", keys_destroyed, of="one"),
)
