"""Users, roles and keys in the state machine: rules A of `kvstore.state.auth`, snapshots, the digest, what is shown."""

from typing import Any

import msgpack
import pytest

from kvstore.model import commands
from kvstore.model.auth_commands import (
    AUTH_DISABLE,
    AUTH_ENABLE,
    KEY_ADD,
    ROLE_ADD,
    ROLE_DELETE,
    ROLE_GRANT,
    ROLE_REVOKE,
    USER_ADD,
    USER_DELETE,
    USER_GRANT,
    USER_PASSWORD,
    USER_REVOKE,
)
from kvstore.model.command_shapes import known, within_limits
from kvstore.model.commands import Op, UnknownCommand, checked, compact, expire, grant, put, set_setting
from kvstore.model.features import FEATURE_LEVEL, LEVEL, needed
from kvstore.model.permissions import ADMIN, READ, WRITE
from kvstore.model.results import APPLIED, AUTH_NOT_FOUND, AUTH_OLD, AUTH_REFUSED, OpResult
from kvstore.state.machine import Machine
from kvstore.state.snapshot import CorruptSnapshot
from tests.support.machines import apply, contents_of, header_of, load, with_header, with_settings

RECORD = b"\x01record of a password"
KEY = bytes(range(32))


def change(machine: Machine, action: int, *arguments: Any) -> OpResult:
    """As a node does it: with the present auth revision."""
    (result,) = apply(machine, checked(commands.auth(action, *arguments), machine.auth.revision))
    return result


def guarded() -> Machine:
    """With root, and `app`, who may read and write what begins with a/."""
    machine = Machine()
    for action, *arguments in (
        (USER_ADD, "app", RECORD),
        (ROLE_ADD, "apps"),
        (ROLE_GRANT, "apps", READ | WRITE, b"a/", b"a0"),
        (USER_GRANT, "app", "apps"),
        (AUTH_ENABLE, KEY, RECORD),
    ):
        assert change(machine, action, *arguments).status == APPLIED
    return machine


def test_every_change_is_one_auth_revision_and_no_store_revision() -> None:
    machine = guarded()
    assert (machine.auth.revision, machine.revision) == (5, 0)
    assert change(machine, USER_GRANT, "app", "apps") == OpResult(APPLIED, 5, 0)  # it has it already
    assert change(machine, ROLE_GRANT, "apps", READ, b"a/", b"a0") == OpResult(APPLIED, 5, 0)
    assert change(machine, ROLE_GRANT, "apps", READ, b"b", None) == OpResult(APPLIED, 6, 1)


def test_rights_are_those_of_all_roles() -> None:
    machine = guarded()
    rights = machine.auth.rights("app")
    assert rights.on_key(READ, b"a/1")
    assert not rights.on_key(READ, b"b")
    assert not rights.anywhere(ADMIN)
    change(machine, ROLE_ADD, "more")
    change(machine, ROLE_GRANT, "more", READ, b"a0", b"a1")
    change(machine, USER_GRANT, "app", "more")
    assert machine.auth.rights("app").on_range(READ, b"a/", b"a1")
    assert not machine.auth.rights("app").on_range(WRITE, b"a/", b"a1")
    assert machine.auth.rights("root").on_range(ADMIN, b"", None)
    assert not machine.auth.rights("nobody").anywhere(READ)


def test_an_operation_is_carried_out_at_the_auth_revision_at_which_it_was_checked_only() -> None:
    machine = guarded()
    seen = machine.auth.revision
    assert apply(machine, checked(put(b"a/1", b"v"), seen))[0].status == APPLIED
    # In one entry: what stands behind the revocation was checked in front of it.
    revocation = checked(commands.auth(USER_REVOKE, "app", "apps"), seen)
    results = apply(machine, checked(put(b"a/2", b"v"), seen), revocation, checked(put(b"a/3", b"v"), seen))
    assert [each.status for each in results] == [APPLIED, APPLIED, AUTH_OLD]
    assert results[2].revision == seen + 1
    assert [machine.get(key) is not None for key in (b"a/1", b"a/2", b"a/3")] == [True, True, False]
    assert machine.revision == 2
    assert apply(machine, checked(put(b"a/3", b"v"), seen + 2))[0].status == AUTH_OLD


@pytest.mark.parametrize("op", [put(b"a/1", b"v"), put(b"a/1", b"v", 0), grant(1_000), compact(1)])
def test_what_nobody_checked_is_refused_while_auth_is_enabled(op: Op) -> None:
    machine = guarded()
    assert apply(machine, op)[0].status == AUTH_OLD
    change(machine, AUTH_DISABLE)
    assert apply(machine, put(b"a/1", b"v"))[0].status == APPLIED


def test_what_leaders_order_for_nobody_goes_on() -> None:
    machine = guarded()
    lease = apply(machine, checked(grant(1_000), machine.auth.revision))[0].revision
    assert apply(machine, set_setting(FEATURE_LEVEL, LEVEL), expire(machine.applied_term, [lease]))[1].status == APPLIED


def test_what_was_carried_out_before_is_answered_again_whatever_has_changed() -> None:
    machine = guarded()
    session = apply(machine, checked(commands.open_session(), machine.auth.revision))[0].revision
    seen = machine.auth.revision
    for once in (b"name", (session, 1, 1)):
        op = checked(put(b"a/1", b"v", once=once), seen)
        (first,) = apply(machine, op)
        change(machine, ROLE_ADD, f"r{seen}-{type(once).__name__}")
        assert apply(machine, op) == [first]
        fresh = checked(put(b"a/1", b"w", once=b"other" if once == b"name" else (session, 2, 1)), seen)
        assert apply(machine, fresh)[0].status == AUTH_OLD
        seen = machine.auth.revision
        assert apply(machine, checked(fresh[2], seen))[0].status == APPLIED  # a refusal is not remembered


@pytest.mark.parametrize(
    ("change_", "status"),
    [
        ((AUTH_ENABLE, KEY, b""), AUTH_REFUSED),
        ((USER_DELETE, "root"), AUTH_REFUSED),
        ((USER_PASSWORD, "root", b""), AUTH_REFUSED),
        ((USER_ADD, "app", b""), AUTH_REFUSED),
        ((ROLE_ADD, "apps"), AUTH_REFUSED),
        ((USER_DELETE, "x"), AUTH_NOT_FOUND),
        ((USER_PASSWORD, "x", b""), AUTH_NOT_FOUND),
        ((USER_GRANT, "x", "apps"), AUTH_NOT_FOUND),
        ((USER_GRANT, "app", "x"), AUTH_NOT_FOUND),
        ((USER_REVOKE, "root", "apps"), AUTH_NOT_FOUND),
        ((ROLE_DELETE, "x"), AUTH_NOT_FOUND),
        ((ROLE_GRANT, "x", READ, b"", None), AUTH_NOT_FOUND),
        ((ROLE_REVOKE, "apps", READ, b"a/", b"a1"), AUTH_NOT_FOUND),
        ((ROLE_REVOKE, "apps", ADMIN, b"a/", b"a0"), AUTH_NOT_FOUND),
    ],
)
def test_what_cannot_be_changed_changes_nothing(change_: tuple[Any, ...], status: int) -> None:
    machine = guarded()
    before = contents_of(machine.snapshot())["auth"], machine.digest
    result = change(machine, *change_)
    assert (result.status, result.revision) == (status, machine.auth.revision)
    assert result.detail.decode().isprintable()
    assert (contents_of(machine.snapshot())["auth"], machine.digest) == before


def test_it_is_not_enabled_without_a_root_who_could_disable_it() -> None:
    machine = Machine()
    assert change(machine, AUTH_ENABLE, KEY, b"").status == AUTH_REFUSED
    change(machine, USER_ADD, "root", b"")
    assert change(machine, AUTH_ENABLE, KEY, b"").status == AUTH_REFUSED
    change(machine, USER_PASSWORD, "root", RECORD)
    assert change(machine, AUTH_ENABLE, KEY, b"").status == APPLIED
    assert machine.auth.enabled


def test_a_role_that_goes_is_taken_from_everybody_and_one_of_its_name_is_another() -> None:
    machine = guarded()
    change(machine, ROLE_DELETE, "apps")
    change(machine, ROLE_ADD, "apps")
    assert machine.auth.users["app"].roles == ()
    assert not machine.auth.rights("app").anywhere(READ)


def test_a_user_of_the_same_name_is_another_one_to_tokens() -> None:
    machine = guarded()
    since = machine.auth.users["app"].since
    change(machine, USER_DELETE, "app")
    change(machine, USER_ADD, "app", RECORD)
    again = machine.auth.users["app"].since
    change(machine, USER_PASSWORD, "app", RECORD)
    assert since < again < machine.auth.users["app"].since


def test_two_signing_keys_are_kept_at_most_and_their_numbers_rise() -> None:
    machine = guarded()
    (first,) = machine.auth.keys
    change(machine, KEY_ADD, bytes(32), 0)
    assert machine.auth.keys == [first, (6, bytes(32))]
    change(machine, KEY_ADD, b"\x01" * 32, 0)
    assert [number for number, _ in machine.auth.keys] == [6, 7]
    change(machine, KEY_ADD, b"\x02" * 32, 1)
    assert machine.auth.keys == [(8, b"\x02" * 32)]


def test_bounds_are_replicated_settings() -> None:
    bounds = {"auth_users_max": 2, "auth_roles_max": 1, "auth_user_roles_max": 1, "auth_role_ranges_max": 1}
    machine = with_settings(guarded(), **bounds)
    assert change(machine, USER_ADD, "third", b"").status == AUTH_REFUSED
    assert change(machine, ROLE_ADD, "second").status == AUTH_REFUSED
    assert change(machine, ROLE_GRANT, "apps", READ, b"x", None).status == AUTH_REFUSED
    assert change(machine, ROLE_GRANT, "apps", ADMIN, b"a/", b"a0").status == APPLIED


def test_a_snapshot_has_all_of_it_and_says_nothing_of_it_where_there_never_was_any() -> None:
    assert "auth" not in header_of(list(Machine().snapshot()))
    machine = guarded()
    apply(machine, checked(put(b"a/1", b"v"), machine.auth.revision))
    frames = list(machine.snapshot())
    again = load(frames)
    assert list(again.snapshot()) == frames
    assert again.digest == machine.digest
    assert again.auth.rights("app").on_key(WRITE, b"a/1")
    assert (again.auth.enabled, again.auth.keys) == (True, [(5, KEY)])
    assert header_of(frames)["auth"] == {"enabled": True, "revision": 5, "users": 2, "roles": 1}
    assert KEY not in msgpack.packb(header_of(frames))


def test_a_snapshot_is_of_its_moment() -> None:
    machine = guarded()
    frames = machine.snapshot()
    change(machine, USER_DELETE, "app")
    assert "app" in load(list(frames)).auth.users


@pytest.mark.parametrize(
    "rows",
    [
        [(0, "app", b"", 1, ("nothing",)), (0, "root", b"r", 1, ())],
        [(0, "app", b"", 9, ()), (0, "root", b"r", 1, ())],
        [(0, "app", b"", 1, ())],
        [(0, "root", b"r", 1, ()), (0, "root", b"r", 1, ())],
        [(0, "root", b"r", 1, ()), (1, "x", [(0, b"", None)])],
        [(0, "root", b"r", 1, ()), (2, 1, b"short")],
        [(0, "root", b"r", 1, ()), (3, 1, bytes(32))],
        [(0, "a b", b"r", 1, ()), (0, "root", b"r", 1, ())],
        ["junk"],
    ],
)
def test_a_snapshot_with_users_that_cannot_be_is_refused(rows: list[Any]) -> None:
    frames = [frame for frame in guarded().snapshot() if msgpack.unpackb(frame)[0] != 9]
    told = {"enabled": True, "revision": 5, "users": len(rows), "roles": 0}
    with pytest.raises(CorruptSnapshot):
        load([*with_header(frames, auth=told), msgpack.packb((9, rows))])


def test_the_digest_tells_states_with_other_users_apart() -> None:
    one, other = guarded(), guarded()
    assert one.digest == other.digest != Machine().digest
    change(other, USER_REVOKE, "app", "apps")
    assert one.digest != other.digest


def test_a_new_cluster_keeps_users_but_not_the_keys_and_can_be_opened() -> None:
    for opened in (False, True):
        machine = guarded()
        since, revision = machine.auth.users["app"].since, machine.auth.revision
        machine.begin_anew(opened=opened)
        assert machine.auth.keys == []
        assert machine.auth.enabled != opened
        assert machine.auth.users["app"].since == since
        assert machine.auth.revision > revision
        again = load(list(machine.snapshot()))
        assert again.digest == machine.digest
    plain = Machine()
    plain.begin_anew(opened=True)
    assert plain.auth.revision == 0


@pytest.mark.parametrize(
    "op",
    [
        (12, 99, ()),
        (12, USER_ADD, ("app",)),
        (12, USER_ADD, ("app", "text")),
        (12, USER_ADD, ("a b", b"")),
        (12, ROLE_GRANT, ("r", 0, b"", None)),
        (12, ROLE_GRANT, ("r", 64, b"", None)),
        (12, ROLE_GRANT, ("r", 1, b"b", b"a")),
        (12, KEY_ADD, (b"short", 0)),
        (12, KEY_ADD, (bytes(32), True)),
        (13, 0, put(b"k", b"v")),
        (13, 1, (13, 1, put(b"k", b"v"))),
        (13, 1, expire(1, [1])),
        (13, 1, (99,)),
        (13, True, put(b"k", b"v")),
    ],
)
def test_malformed_operations_are_not_known(op: Any) -> None:
    assert not known(op)
    with pytest.raises(UnknownCommand):
        apply(Machine(), op)


def test_what_is_checked_is_what_it_was_to_everything_else() -> None:
    op = checked(put(b"k", b"v", once=b"name"), 7)
    assert known(op)
    assert commands.is_named(op)
    assert commands.frees_room(checked(commands.delete(b"k"), 7))
    assert not commands.frees_room(op)
    assert commands.op_bytes(op) > commands.op_bytes(op[2])
    assert not within_limits(checked(put(b"k" * 5_000, b"v"), 7))
    assert needed(op) == needed(commands.auth(AUTH_DISABLE)) == 3
    assert checked(op, 8) is op
    assert checked(put(b"k", b"v"), 0) == put(b"k", b"v")


def test_no_message_shows_a_secret() -> None:
    marker = b"MARKER" + bytes(26)
    secret = commands.auth(KEY_ADD, marker, 0)
    for op in (secret, checked(secret, 3)):
        assert "MARKER" not in commands.shown(op)
        data = commands.encode([put(b"k", b"v"), op], Machine().last_stamp)
        assert "MARKER" not in commands.shown_command(data)
    with pytest.raises(UnknownCommand) as refused:
        apply(Machine(), (12, KEY_ADD, (marker, 7)))
    assert "MARKER" not in str(refused.value)
    assert "poison" in commands.shown_command(commands.encode([put(b"k", b"poison")], Machine().last_stamp))
