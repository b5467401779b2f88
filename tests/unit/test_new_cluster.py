"""A new cluster out of a backup, or out of one member: what comes along, what begins anew, what is refused."""

import random
from pathlib import Path

import msgpack
import pytest

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.raft import NO_OP, REGULAR
from kvstore.consensus.snapshots import SnapshotStore
from kvstore.errors import CorruptData
from kvstore.model.commands import Origin, compact, delete, encode, encode_intents, grant, open_session, put
from kvstore.model.stamp import Stamp
from kvstore.node.boot import Bootstrap, Opened, open_directory
from kvstore.node.new_cluster import NotEmpty, examine, look_at, recover, restore, verify
from kvstore.state.anew import REVISIONS_SKIPPED
from kvstore.state.machine import Compacted, Machine
from tests.support.machines import apply, apply_intents, intent_put, load

MEMBERS = {"n1": "127.0.0.1:1", "n2": "127.0.0.1:2", "n3": "127.0.0.1:3"}
OLD = Configuration(1, (Member("n1", "127.0.0.1:9", "", True, "old"),))


def busy_machine() -> Machine:
    """Records, a tombstone, a lease with a key, a session, an idempotency key, and a level ONE write of n2."""
    machine = Machine()
    for number in range(700):
        apply(machine, put(b"%04d" % number, b"v%d" % number), at=1_000 + number)
    apply(machine, delete(b"0003"), grant(5_000), open_session(), at=3_000)
    apply(machine, put(b"leased", b"x", lease=1), put(b"once", b"y", once=b"name"), at=3_001)
    apply_intents(machine, Origin("n2", 7, 0, 1), intent_put(b"one", b"z", 3_002), at=3_002)
    apply(machine, compact(12), at=3_003)
    return machine


def write(machine: Machine, directory: Path) -> str:
    machine.skip(machine.applied_index + 1, 4)
    store = SnapshotStore(OsDisk(), str(directory))
    writer = store.writer(machine.applied_index, machine.applied_term, OLD)
    for frame in machine.snapshot():
        writer.add(frame)
    return writer.commit().path


def opened(directory: Path, name: str, members: dict[str, str] = MEMBERS) -> Opened:
    found = open_directory(OsDisk(), str(directory), Bootstrap(name, members, "token"), random.Random(1))
    found.intents.close()
    found.journal.close()
    return found


def made(path: str, target: Path, name: str = "n1", seed: int = 1, token: str = "token") -> None:
    restore(OsDisk(), path, str(target), Bootstrap(name, MEMBERS, token), random.Random(seed))


def test_a_backup_tells_what_is_in_it(tmp_path: Path) -> None:
    machine = busy_machine()
    path = write(machine, tmp_path / "snapshots")
    backup, state = verify(OsDisk(), path)
    assert look_at(OsDisk(), path) == backup
    assert (backup.revision, backup.keys, backup.leases, backup.compacted) == (machine.revision, len(machine), 1, 12)
    assert backup.digest == machine.digest == state.digest
    assert backup.stamp_ms == 3_003
    assert (backup.snapshot.index, backup.snapshot.term) == (machine.applied_index, 4)


def test_the_new_cluster_has_the_state_and_goes_on_far_above(tmp_path: Path) -> None:
    machine = busy_machine()
    made(write(machine, tmp_path / "snapshots"), tmp_path / "new")
    state = opened(tmp_path / "new", "n1").machine
    assert state.digest == machine.digest
    whole = machine.range(b"", None, limit=10_000, bytes_max=1 << 30)
    assert state.range(b"", None, limit=10_000, bytes_max=1 << 30) == whole
    assert (state.applied_index, state.applied_term) == (machine.applied_index, 4)
    assert state.last_stamp == machine.last_stamp
    assert state.revision == state.compacted == machine.revision + REVISIONS_SKIPPED
    with pytest.raises(Compacted):
        state.changes(machine.revision, 10)
    assert state.mark("n2") == (7, 1)
    assert state.intent_result("n2", 7, 1) == machine.intent_result("n2", 7, 1)
    assert state.remembers(b"name")


def test_what_is_given_out_after_the_backup_is_never_given_out_again(tmp_path: Path) -> None:
    machine = busy_machine()
    path = write(machine, tmp_path / "snapshots")
    later = load(machine.snapshot())
    lease, session = (result.revision for result in apply(later, grant(1_000), open_session()))
    made(path, tmp_path / "new")
    state = opened(tmp_path / "new", "n1").machine
    new_lease, new_session = (result.revision for result in apply(state, grant(1_000), open_session()))
    assert new_lease > lease + 1_000_000
    assert new_session > session + 1_000_000


def test_the_log_goes_on_in_a_term_that_is_not_below_the_last_entrys(tmp_path: Path) -> None:
    made(write(busy_machine(), tmp_path / "snapshots"), tmp_path / "new")
    journal = opened(tmp_path / "new", "n1").journal
    assert journal.term == journal.entries[-1][2] == 4
    assert journal.voted_for is None
    assert opened(tmp_path / "new", "n1").journal.term == 4


def test_members_of_one_restore_agree_on_a_new_cluster(tmp_path: Path) -> None:
    path = write(busy_machine(), tmp_path / "snapshots")
    for number, name in enumerate(MEMBERS):
        made(path, tmp_path / name, name, seed=number)
    found = [opened(tmp_path / name, name) for name in MEMBERS]
    fresh = opened(tmp_path / "fresh", "n1")
    assert len({each.identity.cluster_id for each in found}) == 1
    assert len({each.identity.identity for each in found}) == 3
    assert found[0].identity.cluster_id != fresh.identity.cluster_id
    for each in found:
        assert each.journal.configuration.voters == ("n1", "n2", "n3")
        assert [member.identity for member in each.journal.configuration.members] == ["", "", ""]
    made(path, tmp_path / "other", token="another")
    assert opened(tmp_path / "other", "n1").identity.cluster_id != found[0].identity.cluster_id


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    path = write(busy_machine(), tmp_path / "snapshots")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("precious")
    with pytest.raises(NotEmpty, match="something in it"):
        made(path, tmp_path / "new")
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["mine"]
    (tmp_path / "half.unfinished").mkdir()
    with pytest.raises(NotEmpty, match="did not end"):
        made(path, tmp_path / "half")
    assert not (tmp_path / "half").exists()
    (tmp_path / "empty").mkdir()
    made(path, tmp_path / "empty")
    assert len(opened(tmp_path / "empty", "n1").machine) == len(busy_machine())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_backup_is_refused_and_nothing_is_made(tmp_path: Path, damage: str) -> None:
    path = Path(write(busy_machine(), tmp_path / "snapshots"))
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 97) if damage == "flip" else [len(data) // 2]:
        broken = bytearray(data)
        broken[place] ^= 0x10
        cut = {"flip": broken, "cut": data[:place], "empty": b"", "text": b"not a backup, but long enough " * 9}[damage]
        path.write_bytes(cut)
        for look in (look_at, verify):
            with pytest.raises(CorruptData, match="cannot be used"):
                look(OsDisk(), str(path))
        with pytest.raises(CorruptData):
            made(str(path), tmp_path / "new")
        assert not (tmp_path / "new").exists()
        assert not (tmp_path / "new.unfinished").exists()


def old_member(directory: Path) -> None:
    """A voter of three whose log has an entry that it does not know to be committed, and two writes of its own at level
    ONE, of which the state has the first.
    """
    found = open_directory(OsDisk(), str(directory), Bootstrap("n1", MEMBERS, "token"), random.Random(1))
    journal = found.journal
    journal.set_term(3, "n1")
    journal.append(NO_OP, 2, 3)
    journal.append(REGULAR + encode([put(b"a", b"committed")], Stamp(1_000, 0, "n1", 0)), 3, 3)
    own = Origin("n1", 5, 0, 1, 1_001)
    applied = encode_intents([intent_put(b"one", b"applied", 1_001)], Stamp(1_001, 0, "n1", 0), own)
    journal.append(REGULAR + applied, 4, 3)
    journal.set_commit(4)
    journal.append(REGULAR + encode([put(b"b", b"perhaps")], Stamp(1_002, 0, "n1", 0)), 5, 3)
    journal.sync(force_commit=True)
    found.intents.append(msgpack.packb((5, 1, intent_put(b"one", b"applied", 1_001))), 2, 1)
    found.intents.append(msgpack.packb((5, 2, intent_put(b"two", b"pending", 1_003))), 3, 1)
    found.intents.sync()
    found.intents.close()
    journal.close()


def test_a_member_that_is_left_is_examined_and_recovered_with_all_that_it_has(tmp_path: Path) -> None:
    old_member(tmp_path / "old")
    alone = Bootstrap("n1", {"n1": "127.0.0.1:7"}, "")
    left = examine(OsDisk(), str(tmp_path / "old"), alone, random.Random(1))
    assert (left.last_index, left.last_term, left.uncommitted, left.intents) == (5, 3, 1, 1)
    assert (left.revision, left.keys, left.voters) == (3, 3, ("n1", "n2", "n3"))
    recover(OsDisk(), str(tmp_path / "old"), str(tmp_path / "new"), alone, random.Random(2))
    found = opened(tmp_path / "new", "n1", {"n1": "127.0.0.1:7"})
    assert found.identity.cluster_id != left.identity.cluster_id
    assert found.identity.incarnation > left.identity.incarnation
    assert found.journal.configuration.voters == ("n1",)
    assert found.journal.configuration.members[0].peer == "127.0.0.1:7"
    state = found.machine
    assert [state.get(key).value for key in (b"a", b"b", b"one")] == [b"committed", b"perhaps", b"applied"]
    assert state.revision == 3 + REVISIONS_SKIPPED
    assert state.mark("n1") == (5, 1)
    assert len(found.intents.entries) == 3


def test_a_recovery_in_vain_changes_nothing(tmp_path: Path) -> None:
    alone = Bootstrap("n1", {"n1": "127.0.0.1:7"}, "")
    (tmp_path / "nobody").mkdir()
    with pytest.raises(CorruptData, match="not the data directory of a node"):
        examine(OsDisk(), str(tmp_path / "nobody"), alone, random.Random(1))
    assert list((tmp_path / "nobody").iterdir()) == []
    old_member(tmp_path / "old")
    with pytest.raises(CorruptData, match="belongs to node 'n1'"):
        examine(OsDisk(), str(tmp_path / "old"), Bootstrap("n2", {"n2": "127.0.0.1:7"}, ""), random.Random(1))
