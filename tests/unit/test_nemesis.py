"""The shapes of partitions, and what is taken for an effect of a fault."""

import random
from typing import Any

import pytest

from kvjepsen import capabilities
from kvjepsen.capabilities import Capability, Need
from kvjepsen.nemesis import FAULTS, cannot_overlap
from kvjepsen.nemesis import Field as RealField
from kvjepsen.nemesis.driver import _seen, _Signs
from kvjepsen.nemesis.fault import Sign
from kvjepsen.nemesis.partitions import Bridge, Halves, Isolate, IsolateLeader, OneWay, Ring


class Field:
    """As much of a field as a partition needs."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.rng = random.Random(seed)

    def any(self) -> str:
        return self.rng.choice(self.names)

    async def leader_or_any(self) -> str:
        return "n2"


async def cut(fault: Any, nodes: int, seed: int) -> tuple[Field, list[str], set[tuple[str, str]]]:
    field = Field(nodes, seed)
    victims, pairs, _ = await fault.cut(field)
    return field, victims, set(pairs)


def reached(field: Field, pairs: set[tuple[str, str]], name: str) -> set[str]:
    """Whom `name` can talk with, itself included."""
    return {other for other in field.names if (name, other) not in pairs and (other, name) not in pairs}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("nodes", [3, 4, 5, 7])
class TestPartitions:
    async def test_halves_are_a_majority_and_a_minority(self, nodes: int, seed: int) -> None:
        field, few, pairs = await cut(Halves(), nodes, seed)
        assert 0 < len(few) <= (nodes - 1) // 2
        many = set(field.names) - set(few)
        assert all(reached(field, pairs, name) == set(few) for name in few)
        assert all(reached(field, pairs, name) == many for name in many)

    async def test_a_bridge_reaches_both_halves_and_nobody_else_does(self, nodes: int, seed: int) -> None:
        field, (bridge,), pairs = await cut(Bridge(), nodes, seed)
        assert reached(field, pairs, bridge) == set(field.names)
        sides = {frozenset(reached(field, pairs, name) - {bridge}) for name in field.names if name != bridge}
        assert len(sides) == 2
        assert not frozenset.intersection(*sides)

    async def test_who_is_isolated_reaches_nobody(self, nodes: int, seed: int) -> None:
        field, (victim,), pairs = await cut(Isolate(), nodes, seed)
        assert reached(field, pairs, victim) == {victim}
        assert (await cut(IsolateLeader(), nodes, seed))[1] == ["n2"]

    async def test_one_way_leaves_the_other_way_open(self, nodes: int, seed: int) -> None:
        _, (victim,), pairs = await cut(OneWay(), nodes, seed)
        assert len(pairs) == nodes - 1
        assert not any((target, source) in pairs for source, target in pairs)
        assert all(victim in pair for pair in pairs)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("nodes", [4, 5, 6, 7])
async def test_in_a_ring_everybody_reaches_a_majority_and_each_another_one(nodes: int, seed: int) -> None:
    field, _, pairs = await cut(Ring(), nodes, seed)
    views = {frozenset(reached(field, pairs, name)) for name in field.names}
    assert len(views) == nodes
    assert all(nodes // 2 < len(view) < nodes for view in views)


def test_every_fault_has_a_name_of_its_own_and_says_what_it_does() -> None:
    assert all(name == fault.name and fault.title for name, fault in FAULTS.items())
    assert len({fault.title for fault in FAULTS.values()}) == len(FAULTS) >= 14


def signs(**changed: Any) -> _Signs:
    usual: dict[str, Any] = {
        "term": 3,
        "leader": "n1",
        "pids": {"n1": 10, "n2": 11},
        "resets": 5,
        "held_bytes": 100,
        "unserved": 7,
    }
    return _Signs(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"term": 4}, "election: term 3 to 4"),
        ({"leader": "n2"}, "n2 leads instead of n1"),
        ({"pids": {"n1": 10, "n2": 12}}, "another process: n2"),
        ({"resets": 8}, "3 connections reset"),
        ({"held_bytes": 1_300}, "1,200 bytes held up"),
        ({"unserved": 9}, "2 operations refused or unanswered"),
    ],
)
def test_each_sign_is_an_effect(changed: dict, said: str) -> None:
    assert _seen(signs(), signs(**changed)) == [said]


def test_where_nothing_changed_nothing_was_seen() -> None:
    assert _seen(signs(), signs()) == []
    assert _seen(signs(), signs(leader=None)) == []


def test_what_cannot_be_injected_says_why() -> None:
    there = [Capability(Need.PROCESSES, True, ""), Capability(Need.LINKS, False, "a cluster of one has no links")]
    assert capabilities.missing(there, frozenset({Need.PROCESSES})) == ""
    assert capabilities.missing(there, frozenset({Need.PROCESSES, Need.LINKS})) == "a cluster of one has no links"


def test_a_cluster_that_is_not_ours_is_left_alone() -> None:
    """Also by `transfer`, which asks for it over HTTP: what a fault did is seen by looking at the processes."""
    there = capabilities.probe(None)
    assert [name for name, fault in FAULTS.items() if not capabilities.missing(there, fault.needs)] == []


class Topology:
    """As much of a cluster as a choice of victims needs."""

    def __init__(self, nodes: int) -> None:
        self.topology = self
        self.names = [f"n{number}" for number in range(1, nodes + 1)]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 7])
def test_two_faults_at_once_hit_no_more_than_a_minority(nodes: int, seed: int) -> None:
    field: Any = RealField(Topology(nodes), random.Random(seed))  # type: ignore[arg-type]
    first = field.minority()
    field.hit.update(first)
    second = field.minority()
    few = max(1, (nodes - 1) // 2)
    assert first
    assert second
    assert len({*first, *second}) <= few
    assert len({*first, field.any()}) <= few


def test_what_can_overlap_is_a_fault_of_nodes_and_one_of_the_network() -> None:
    assert [cannot_overlap(name) for name in ("kill", "kill+delay", "pause-leader+halves")] == ["", "", ""]
    for name in ("delay+kill", "kill+pause", "delay+stall", "power+delay", "kill+delay+pause", "kill+transfer"):
        assert "two at once are one of kill" in cannot_overlap(name)


def test_of_two_faults_each_is_known_by_what_only_it_brings_about() -> None:
    after = signs(term=5, leader="n2", pids={"n1": 10, "n2": 12}, resets=8, held_bytes=150, unserved=9)
    assert _seen(signs(), after, Sign.NODES) == ["another process: n2"]
    assert _seen(signs(), after, Sign.LINKS) == ["3 connections reset", "50 bytes held up"]
    assert len(_seen(signs(), after)) == 6
