"""Feature levels: what may go into the log while versions are mixed, and the settings that came with level 2."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvstore.consensus import wire
from kvstore.consensus.configuration import Configuration, Member
from kvstore.errors import UpgradeIncomplete, from_problem
from kvstore.model.changeable import CHANGEABLE
from kvstore.model.command_shapes import known, within_limits
from kvstore.model.commands import Op, UnknownCommand, put, set_setting
from kvstore.model.features import FEATURE_LEVEL, LEVEL
from kvstore.node.features import Features
from kvstore.node.site import Site
from kvstore.state.machine import Machine
from kvstore.state.settings import default_settings
from tests.support.machines import apply, load

OLD_HELLO = ["hello", 1, "cluster", "n2", "identity", 3, "http://x", "x:1", True]


def features(machine: Machine, **peers: int | None) -> Features:
    """Those of n1, which leads; the others told these levels, None if there is no connection."""
    told = {name: None if level is None else SimpleNamespace(features=level) for name, level in peers.items()}
    members = tuple(Member(name, "", "", True, "") for name in ("n1", *peers))
    engine = SimpleNamespace(name="n1", peer=told.get, configuration=Configuration(1, members))
    return Features(cast(Site, SimpleNamespace(engine=engine)), lambda: machine)


SET: Op = set_setting("history_revisions_max", 500)


def test_the_level_rises_with_the_first_operation_that_needs_it_and_then_nobody_is_asked() -> None:
    machine = Machine()
    assert machine.feature_level == 1
    assert features(machine, n2=2, n3=LEVEL).before(put(b"k", b"v")) is None
    before = features(machine, n2=2, n3=LEVEL).before(SET)
    assert before == set_setting(FEATURE_LEVEL, 2)
    apply(machine, before, SET)
    assert (machine.feature_level, machine.settings["history_revisions_max"]) == (2, 500)
    assert features(machine, n2=1, n3=None).before(SET) is None


@pytest.mark.parametrize(("peers", "missing"), [({"n2": 1, "n3": 2}, ("n2",)), ({"n2": None, "n3": 1}, ("n3", "n2"))])
def test_an_old_or_silent_member_is_named(peers: dict[str, int | None], missing: tuple[str, ...]) -> None:
    with pytest.raises(UpgradeIncomplete) as refused:
        features(Machine(), **peers).before(SET)
    assert refused.value.missing == missing
    assert (refused.value.outcome, refused.value.status) == ("not_applied", 503)
    assert isinstance(from_problem(refused.value.to_problem()), UpgradeIncomplete)


def test_an_old_leader_is_not_sent_what_it_does_not_know() -> None:
    mixed = features(Machine(), n2=1)
    mixed.check_leader("n2", put(b"k", b"v"))
    with pytest.raises(UpgradeIncomplete, match="n2 must be upgraded"):
        mixed.check_leader("n2", SET)


def test_the_level_never_falls_and_one_above_this_build_stops_it() -> None:
    machine = Machine()
    apply(machine, set_setting(FEATURE_LEVEL, 2), set_setting(FEATURE_LEVEL, 1))
    assert machine.feature_level == 2
    with pytest.raises(UnknownCommand):
        apply(machine, set_setting(FEATURE_LEVEL, LEVEL + 1))
    assert load(machine.snapshot()).feature_level == 2


def test_every_changeable_setting_is_one_and_its_default_is_within_its_bounds() -> None:
    defaults = default_settings()
    for name, bounds in CHANGEABLE.items():
        assert bounds.least <= defaults[name] <= bounds.most
        assert within_limits(set_setting(name, bounds.most))
        assert not within_limits(set_setting(name, bounds.least - 1))
        assert known(set_setting(name, bounds.most + 1))  # bounds may be other ones when the log is replayed


@pytest.mark.parametrize(
    "op", [(11, "clock_drift_ms_max", 5), (11, "nonsense", 5), (11, b"leases_max", 5), (11, "leases_max", 0)]
)
def test_no_other_setting_can_be_changed(op: Any) -> None:
    assert not known(op)
    assert not within_limits(set_setting(FEATURE_LEVEL, 2))  # from no peer, only by the leader itself


def test_a_smaller_history_is_cut_at_once() -> None:
    machine = Machine()
    for number in range(300):
        apply(machine, put(b"%d" % number, b"v"))
    assert machine.compacted == 0
    apply(machine, set_setting("history_revisions_max", 100))
    assert (machine.compacted, machine.revision) == (200, 300)


def test_a_handshake_without_a_level_is_that_of_an_old_version() -> None:
    hello = wire.decode_greeting(wire._pack(OLD_HELLO))
    assert isinstance(hello, wire.Hello)
    assert hello.features == 1
    told = wire._pack(wire.Hello(1, "cluster", "n2", "identity", 3, "http://x", "x:1", True, LEVEL))
    assert wire.decode_greeting(told).features == LEVEL  # type: ignore[union-attr]
