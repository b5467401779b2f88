"""Nodes that reach each other at different addresses: one cluster id, and whose address counts for dialing."""

import random

from kvstore.config import parse_address
from kvstore.consensus.configuration import Configuration, Member
from kvstore.node.boot import Bootstrap, cluster_id_of
from kvstore.node.connections import addresses_to_dial


def cluster_id(members: dict[str, str], token: str) -> str:
    return cluster_id_of(Bootstrap("n1", members, token), random.Random())


def configuration(**peers: str) -> Configuration:
    return Configuration(1, tuple(sorted(Member(name, peer, "", True, "") for name, peer in peers.items())))


def test_with_a_token_the_cluster_id_depends_on_token_and_names() -> None:
    one = cluster_id({"n1": "h:1", "n2": "h:2"}, "t")
    assert cluster_id({"n2": "h:9", "n1": "h:8"}, "t") == one
    assert cluster_id({"n1": "h:1", "n3": "h:2"}, "t") != one
    assert cluster_id({"n1": "h:1", "n2": "h:2"}, "u") != one


def test_without_a_token_the_cluster_id_depends_on_addresses() -> None:
    one = cluster_id({"n1": "h:1", "n2": "h:2"}, "")
    assert cluster_id({"n2": "h:2", "n1": "h:1"}, "") == one
    assert cluster_id({"n1": "h:1", "n2": "h:9"}, "") != one


def test_a_single_node_without_a_token_is_like_no_other() -> None:
    assert cluster_id({"n1": "h:1"}, "") != cluster_id({"n1": "h:1"}, "")


def test_a_node_dials_where_it_was_told_and_else_where_the_configuration_says() -> None:
    own = {"n2": parse_address("127.0.0.1:7")}
    known = configuration(n1="127.0.0.1:1", n2="127.0.0.1:2", n3="127.0.0.1:3")
    dialed = addresses_to_dial(own, known, "n1")
    assert {name: str(address) for name, address in dialed.items()} == {"n2": "127.0.0.1:7", "n3": "127.0.0.1:3"}


def test_a_member_taken_in_anew_is_dialed_at_its_new_address() -> None:
    own = {"n2": parse_address("127.0.0.1:7")}
    addresses_to_dial(own, configuration(n1="127.0.0.1:1"), "n1")
    dialed = addresses_to_dial(own, configuration(n1="127.0.0.1:1", n2="127.0.0.1:9"), "n1")
    assert {name: str(address) for name, address in dialed.items()} == {"n2": "127.0.0.1:9"}
