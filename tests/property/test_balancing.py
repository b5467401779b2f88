"""What each way of choosing a node promises, for any nodes, weights and failures."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.balancing import (
    ALGORITHMS,
    Balancer,
    LeastConnections,
    Node,
    RoundRobin,
    SmoothWeighted,
    candidates,
    rendezvous,
)


@st.composite
def clusters(draw: st.DrawFn, weight_min: int = 0) -> list[Node]:
    names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=7, unique=True))
    return [
        Node(name, draw(st.integers(weight_min, 9)), draw(st.booleans()), draw(st.integers(0, 20))) for name in names
    ]


def alive(nodes: list[Node]) -> list[Node]:
    return [node._replace(alive=True) for node in nodes]


def made(name: str) -> Balancer:
    return ALGORITHMS[name]("192.0.2.7")


def turns(balancer: Balancer, nodes: list[Node], count: int) -> list[int]:
    return [balancer.choose(nodes) for _ in range(count)]


@pytest.mark.parametrize("name", ALGORITHMS)
@given(histories=st.lists(clusters(), min_size=1, max_size=12))
def test_no_drained_or_dead_node_while_there_is_another(name: str, histories: list[list[Node]]) -> None:
    balancer = made(name)
    for nodes in histories:
        chosen = nodes[balancer.choose(nodes)]
        if any(node.alive for node in nodes):
            assert chosen.alive
        if any(node.weight and node.alive == chosen.alive for node in nodes):
            assert chosen.weight


@pytest.mark.parametrize("name", ALGORITHMS)
@given(histories=st.lists(clusters(), min_size=1, max_size=12))
def test_the_same_history_gives_the_same_choices(name: str, histories: list[list[Node]]) -> None:
    one, other = made(name), made(name)
    assert [one.choose(nodes) for nodes in histories] == [other.choose(nodes) for nodes in histories]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_nodes_and_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no node"):
        made(name).choose([])
    with pytest.raises(ValueError, match="weight"):
        made(name).choose([Node("a", -1)])


@given(nodes=clusters(), rounds=st.integers(1, 4))
def test_round_robin_gives_each_candidate_the_same(nodes: list[Node], rounds: int) -> None:
    places = candidates(nodes)
    assert turns(RoundRobin(), nodes, rounds * len(places)) == places * rounds


def test_round_robin_goes_on_where_it_was_when_a_node_fails_and_returns() -> None:
    """A counter taken modulo the number of nodes would begin anew, or skip one."""
    balancer = RoundRobin()
    nodes = [Node(name) for name in "abcd"]
    without_b = [node._replace(alive=node.name != "b") for node in nodes]
    assert turns(balancer, nodes, 1) == [0]
    assert turns(balancer, without_b, 3) == [2, 3, 0]
    assert turns(balancer, nodes, 4) == [1, 2, 3, 0]


@given(nodes=clusters(weight_min=1), periods=st.integers(1, 3))
def test_smooth_weighted_is_exact_over_every_period(nodes: list[Node], periods: int) -> None:
    nodes = alive(nodes)
    total = sum(node.weight for node in nodes)
    chosen = turns(SmoothWeighted(), nodes, periods * total)
    for begin in range(0, len(chosen), total):
        period = Counter(chosen[begin : begin + total])
        assert {place: period[place] for place in range(len(nodes))} == {
            place: node.weight for place, node in enumerate(nodes)
        }


@given(nodes=clusters(weight_min=1))
def test_smooth_weighted_lets_no_node_get_a_whole_turn_ahead_of_its_share(nodes: list[Node]) -> None:
    """At no moment, so that heavy nodes do not have their turns all at once. Who is chosen has a positive credit, and
    pays the sum of all weights: no credit ever falls to minus that sum, which is what a whole turn ahead would be.
    """
    nodes = alive(nodes)
    total = sum(node.weight for node in nodes)
    had: Counter[int] = Counter()
    for turn, place in enumerate(turns(SmoothWeighted(), nodes, 2 * total), 1):
        had[place] += 1
        assert had[place] * total < turn * nodes[place].weight + total


@settings(max_examples=30, deadline=None)
@given(histories=st.lists(clusters(weight_min=1), min_size=1, max_size=10), nodes=clusters(weight_min=1))
def test_smooth_weighted_finds_back_to_the_weights_after_any_changes(
    histories: list[list[Node]], nodes: list[Node]
) -> None:
    balancer = SmoothWeighted()
    for before in histories:
        balancer.choose(before)
    nodes = alive(nodes)
    total = sum(node.weight for node in nodes)
    # What is left of the credit of before is worth some turns, once; then the shares are those of the weights.
    turns(balancer, nodes, 20 * total)
    seen = Counter(turns(balancer, nodes, total))
    for place, node in enumerate(nodes):
        assert abs(seen[place] - node.weight) <= 1


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.integers(1, 5), min_size=1, max_size=6), requests=st.integers(1, 200))
def test_least_connections_keeps_connections_in_proportion_to_weights(weights: list[int], requests: int) -> None:
    """No node is ahead of another by more than the one connection that it was given last."""
    nodes = [Node(f"n{place}", weight) for place, weight in enumerate(weights)]
    balancer = LeastConnections()
    for _ in range(requests):
        place = balancer.choose(nodes)
        nodes[place] = nodes[place]._replace(connections=nodes[place].connections + 1)
    for one in nodes:
        for other in nodes:
            assert one.connections / one.weight <= (other.connections + 1) / other.weight + 1e-9


def test_least_connections_takes_turns_while_all_are_idle() -> None:
    assert turns(LeastConnections(), [Node(name) for name in "abc"], 6) == [0, 1, 2, 0, 1, 2]


@given(nodes=clusters(), newcomer=st.text(min_size=7, max_size=9), addresses=st.lists(st.binary(), max_size=40))
def test_rendezvous_moves_nothing_but_to_a_node_that_comes(
    nodes: list[Node], newcomer: str, addresses: list[bytes]
) -> None:
    nodes = [node._replace(alive=True, weight=max(node.weight, 1)) for node in nodes]
    grown = [Node(newcomer, 2), *nodes]
    for address in addresses:
        before, after = nodes[rendezvous(nodes, address)].name, grown[rendezvous(grown, address)].name
        assert after in (before, newcomer)


@given(nodes=clusters(weight_min=1), gone=st.integers(0, 6), addresses=st.lists(st.binary(), max_size=40))
def test_rendezvous_moves_nothing_but_from_a_node_that_goes(
    nodes: list[Node], gone: int, addresses: list[bytes]
) -> None:
    nodes = alive(nodes)
    gone %= len(nodes)
    dead = [node._replace(alive=place != gone) for place, node in enumerate(nodes)]
    for address in addresses:
        before = rendezvous(nodes, address)
        if before != gone:
            assert rendezvous(dead, address) == before


@given(nodes=clusters(), order=st.randoms(use_true_random=False), address=st.binary())
def test_rendezvous_does_not_depend_on_the_order_of_the_nodes(
    nodes: list[Node], order: "object", address: bytes
) -> None:
    shuffled = list(nodes)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shuffled[rendezvous(shuffled, address)] == nodes[rendezvous(nodes, address)]


def test_rendezvous_gives_shares_by_weight() -> None:
    nodes = [Node("a", 1), Node("b", 2), Node("c", 5)]
    seen = Counter(rendezvous(nodes, b"10.0.%d.%d" % divmod(number, 256)) for number in range(40_000))
    for place, node in enumerate(nodes):
        assert seen[place] == pytest.approx(40_000 * node.weight / 8, rel=0.05)
