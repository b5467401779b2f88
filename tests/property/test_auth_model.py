"""Users and roles against plain sets; rights against asking every key; parsers of tokens and keys against junk."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvstore.errors import BadRequest
from kvstore.model import commands
from kvstore.model.auth_commands import (
    AUTH_DISABLE,
    AUTH_ENABLE,
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
from kvstore.model.commands import Command, checked, put
from kvstore.model.permissions import ALL_VERBS, READ, VERBS, Rights
from kvstore.model.results import APPLIED, AUTH_OLD
from kvstore.security import jwt_tokens, key_file, tokens
from kvstore.security.peer_names import user_of
from kvstore.security.tokens import ShortToken
from kvstore.state.machine import Machine
from tests.support.machines import load

FEW = settings(max_examples=40, deadline=None)

# A small world: every key there is, and bounds between and beside them.
KEYS = [bytes((a, b)) for a in b"abc" for b in b"xyz"]
BOUNDS = st.sampled_from([b"", b"a", b"ax", b"ay", b"b", b"bz", b"c", b"cz\x00", b"d"])
RANGES = st.tuples(BOUNDS, st.none() | BOUNDS).filter(lambda span: span[1] is None or span[0] < span[1])
VERB = st.sampled_from(list(VERBS.values()))
VERBSETS = st.integers(1, ALL_VERBS)


def inside(key: bytes, span: tuple[bytes, bytes | None]) -> bool:
    return span[0] <= key and (span[1] is None or key < span[1])


@FEW
@given(st.lists(st.tuples(VERBSETS, RANGES), max_size=8), VERB, RANGES)
def test_rights_are_what_asking_every_key_gives(
    permissions: list[tuple[int, tuple[bytes, bytes | None]]], verb: int, asked: tuple[bytes, bytes | None]
) -> None:
    rights = Rights((verbs, *span) for verbs, span in permissions)
    held = [span for verbs, span in permissions if verbs & verb]
    for key in KEYS:
        assert rights.on_key(verb, key) == any(inside(key, span) for span in held)
    # Every bound there is, and one key behind each, decides about a range as all keys of it would.
    points = {b"", asked[0], *KEYS, b"cz\x01", b"\xff", *(each for span in held for each in span if each is not None)}
    wanted = all(any(inside(point, span) for span in held) for point in points if inside(point, asked))
    assert rights.on_range(verb, *asked) == wanted
    assert rights.anywhere(verb) == bool(held)


NAMES = st.sampled_from(["root", "app", "b", "c"])


class AuthAgainstModel(RuleBasedStateMachine):
    """Two replicas with the same log, one of them restored from a snapshot now and then, and plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.replica = Machine(), Machine()
        self.enabled = False
        self.users: dict[str, tuple[bytes, set[str]]] = {}
        self.roles: dict[str, dict[tuple[bytes, bytes | None], int]] = {}
        self.old = 0

    def apply(self, op: commands.Op) -> Any:
        results = []
        for machine in (self.machine, self.replica):
            entry = Command(commands.KIND_OPS, [op], machine.last_stamp)
            results.append(machine.apply(machine.applied_index + 1, 1, entry))
        assert results[0] == results[1]
        return results[0][0]

    def change(self, action: int, *arguments: Any, fine: bool) -> bool:
        self.old = self.machine.auth.revision
        result = self.apply(checked(commands.auth(action, *arguments), self.old))
        assert (result.status == APPLIED) == fine, (action, arguments, result)
        return fine

    @rule(record=st.sampled_from([b"", b"record"]))
    def enable(self, record: bytes) -> None:
        fine = not self.enabled and (bool(record) or bool(self.users.get("root", (b"",))[0]))
        if self.change(AUTH_ENABLE, bytes(32), record, fine=fine):
            self.enabled = True
            if record:
                self.users["root"] = (record, self.users.get("root", (b"", set()))[1])

    @rule()
    def disable(self) -> None:
        self.change(AUTH_DISABLE, fine=True)
        self.enabled = False

    @rule(name=NAMES, record=st.sampled_from([b"", b"record"]))
    def add_user(self, name: str, record: bytes) -> None:
        if self.change(USER_ADD, name, record, fine=name not in self.users):
            self.users[name] = (record, set())

    @rule(name=NAMES)
    def delete_user(self, name: str) -> None:
        if self.change(USER_DELETE, name, fine=name in self.users and not (name == "root" and self.enabled)):
            del self.users[name]

    @rule(name=NAMES, record=st.sampled_from([b"", b"other"]))
    def password(self, name: str, record: bytes) -> None:
        fine = name in self.users and (bool(record) or not (name == "root" and self.enabled))
        if self.change(USER_PASSWORD, name, record, fine=fine):
            self.users[name] = (record, self.users[name][1])

    @rule(role=NAMES)
    def add_role(self, role: str) -> None:
        if self.change(ROLE_ADD, role, fine=role not in self.roles):
            self.roles[role] = {}

    @rule(role=NAMES)
    def delete_role(self, role: str) -> None:
        if self.change(ROLE_DELETE, role, fine=role in self.roles):
            del self.roles[role]
            for _, held in self.users.values():
                held.discard(role)

    @rule(role=NAMES, verbs=VERBSETS, span=RANGES)
    def grant(self, role: str, verbs: int, span: tuple[bytes, bytes | None]) -> None:
        if self.change(ROLE_GRANT, role, verbs, *span, fine=role in self.roles):
            self.roles[role][span] = self.roles[role].get(span, 0) | verbs

    @rule(role=NAMES, verbs=VERBSETS, span=RANGES)
    def revoke(self, role: str, verbs: int, span: tuple[bytes, bytes | None]) -> None:
        fine = bool(self.roles.get(role, {}).get(span, 0) & verbs)
        if self.change(ROLE_REVOKE, role, verbs, *span, fine=fine):
            self.roles[role][span] &= ~verbs

    @rule(name=NAMES, role=NAMES)
    def give(self, name: str, role: str) -> None:
        if self.change(USER_GRANT, name, role, fine=name in self.users and role in self.roles):
            self.users[name][1].add(role)

    @rule(name=NAMES, role=NAMES)
    def take(self, name: str, role: str) -> None:
        if self.change(USER_REVOKE, name, role, fine=name in self.users and role in self.users[name][1]):
            self.users[name][1].discard(role)

    @rule(how=st.sampled_from(["now", "before", "never"]), key=st.sampled_from(KEYS))
    def write(self, how: str, key: bytes) -> None:
        present = self.machine.auth.revision
        at = {"now": present, "before": self.old, "never": 0}[how]
        result = self.apply(checked(put(key, b"v"), at))
        fine = at == present if at else not self.enabled
        assert result.status == (APPLIED if fine else AUTH_OLD)

    @rule()
    def restore(self) -> None:
        self.replica = load(list(self.machine.snapshot()))

    @invariant()
    def same(self) -> None:
        assert self.machine.digest == self.replica.digest
        auth = self.machine.auth
        assert auth.enabled == self.enabled
        assert {name: (user.password, set(user.roles)) for name, user in auth.users.items()} == self.users
        for name, (_, held) in self.users.items():
            rights = auth.rights(name)
            for verb in (READ, 32):
                for key in (b"ax", b"bz", b"cy"):
                    spans = [span for role in held for span, verbs in self.roles[role].items() if verbs & verb]
                    assert rights.on_key(verb, key) == (name == "root" or any(inside(key, span) for span in spans))


AuthAgainstModel.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestAuthAgainstModel = AuthAgainstModel.TestCase

KEY = [(1, bytes(32)), (2, bytes(range(32)))]
GOOD = tokens.sign(ShortToken("app", 3, 1_000.0), KEY)


@FEW
@given(st.text(max_size=200) | st.builds("kvt1.{}.{}".format, st.text(max_size=60), st.text(max_size=60)))
def test_junk_is_no_token(text: str) -> None:
    with pytest.raises(tokens.BadToken):
        tokens.read(text, KEY)
    with pytest.raises(tokens.BadToken):
        jwt_tokens.read(text, {}, "kvstore")


@FEW
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_no_changed_token_is_good(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    try:
        told = tokens.read(changed, KEY)
    except tokens.BadToken:
        return
    # Base64 has spare bits at the end of the signature; what is signed is the same.
    assert told == ShortToken("app", 3, 1_000.0)
    assert changed.rpartition(".")[0] == GOOD.rpartition(".")[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["keys", "kid", "alg", "kty", "k", "x", "crv", "d"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@FEW
@given(st.binary(max_size=100) | JSON.map(lambda made: json.dumps(made).encode()))
def test_junk_is_no_key_set(data: bytes) -> None:
    with suppress(key_file.BadKeyFile):
        assert key_file.parse(data) == {}


@FEW
@given(
    st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "subject": st.lists(st.lists(st.tuples(st.sampled_from(["commonName", "o"]), st.text(max_size=9)))),
            "subjectAltName": st.lists(st.tuples(st.sampled_from(["DNS", "email", "URI"]), st.text(max_size=9))),
        },
    )
)
def test_a_certificate_names_a_user_or_nobody(certificate: Any) -> None:
    named = user_of(certificate)
    assert named is None or (named and commands.auth(USER_ADD, named, b"")[2][0] == named)


def test_a_password_out_of_bounds_is_refused() -> None:
    from kvstore.security.passwords import is_of, record_of

    for wrong in ("", "short", "x" * 257):
        with pytest.raises(BadRequest):
            record_of(wrong)
    record = record_of("long enough")
    assert record != record_of("long enough")
    assert is_of(record, "long enough")
    assert not is_of(record, "long enougH")
    assert not is_of(b"", "long enough")
    assert not is_of(record[:-1], "long enough")
