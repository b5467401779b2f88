"""Which links a partition cuts."""

import pytest

from kvcluster.partition import BadPartition, cut_pairs, parse_groups


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("n1,n2|n3", [["n1", "n2"], ["n3"]]),
        (" n1 , n2 | n3 ", [["n1", "n2"], ["n3"]]),
        ("n1|n2|n3", [["n1"], ["n2"], ["n3"]]),
    ],
)
def test_groups_stand_between_bars(text: str, groups: list[list[str]]) -> None:
    assert parse_groups(text) == groups


@pytest.mark.parametrize("text", ["", "n1", "n1,n2", "n1|", "|n1", "n1,|n2", "n1||n2"])
def test_fewer_than_two_groups_or_an_empty_one_is_refused(text: str) -> None:
    with pytest.raises(BadPartition, match="does not name two groups"):
        parse_groups(text)


def test_a_node_stands_in_one_group_also_under_another_word() -> None:
    with pytest.raises(BadPartition, match="names n1 twice"):
        parse_groups("leader|n1", lambda word: "n1" if word == "leader" else word)


def test_a_partition_cuts_both_directions_between_groups_and_none_inside() -> None:
    assert set(cut_pairs([["n1", "n2"], ["n3"]])) == {("n1", "n3"), ("n2", "n3"), ("n3", "n1"), ("n3", "n2")}


def test_one_way_cuts_what_goes_to_the_right() -> None:
    assert cut_pairs([["n1"], ["n2", "n3"]], one_way=True) == [("n1", "n2"), ("n1", "n3")]
    assert set(cut_pairs([["n1"], ["n2"], ["n3"]], one_way=True)) == {("n1", "n2"), ("n1", "n3"), ("n2", "n3")}


def test_a_node_in_no_group_is_a_bridge() -> None:
    assert {name for pair in cut_pairs([["n1", "n2"], ["n4", "n5"]]) for name in pair} == {"n1", "n2", "n4", "n5"}
