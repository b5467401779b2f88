"""The first election of a new cluster: who waits for whom (rule M6)."""

from kvstore.consensus import messages as wire
from kvstore.consensus.engine import Peer
from kvstore.consensus.founding import Founding
from tests.support.lab import Lab, LabNode


def said(name: str, *, has_log: bool) -> Peer:
    return Peer(name, "", 1, "", has_log=has_log)


def empty_node(**settings: bool) -> tuple[LabNode, Founding]:
    """A node of three whose directory is empty, and that has heard from nobody yet."""
    lab = Lab("n1", "n2", "n3")
    node = LabNode(lab, "n1", type(lab.nodes["n1"].disk)())
    return node, Founding(node.member._context, incomplete=settings.get("incomplete", False))


def test_an_empty_directory_waits_until_all_the_others_have_said_that_they_have_no_log_either() -> None:
    _, founding = empty_node()
    assert founding.waits_for == ("n2", "n3")
    assert not founding.heard(said("n2", has_log=False))
    assert not founding.heard(said("n3", has_log=True))
    assert founding.waits
    assert founding.waits_for == ("n3",)
    assert founding.heard(said("n3", has_log=False)), "it has lost its own since, and nobody has any"
    assert not founding.waits


def test_an_operator_vouches_for_who_is_missing_but_not_for_who_has_a_log() -> None:
    _, founding = empty_node(incomplete=True)
    assert not founding.waits
    _, founding = empty_node(incomplete=True)
    founding._have_logs.add("n2")
    assert founding.waits_for == ("n2",)


def test_entries_of_a_leader_end_the_waiting() -> None:
    node, founding = empty_node()
    node.journal.set_term(1, None)
    node.journal.append(b"\x01", 2, 1)
    assert not founding.waits


def test_who_has_voted_before_does_not_wait() -> None:
    lab = Lab("n1", "n2", "n3")
    node = LabNode(lab, "n1", type(lab.nodes["n1"].disk)())
    node.journal.set_term(1, "n2")
    assert not Founding(node.member._context, incomplete=False).waits


def test_who_waits_neither_votes_nor_learns_of_terms() -> None:
    lab = Lab("n1", "n2", "n3")
    node = LabNode(lab, "n1", type(lab.nodes["n1"].disk)())
    node.member.start(node)
    lab.now += 5.0
    for message in (
        wire.VoteRequest(3, 9, 2, pre=True, transfer=False),
        wire.VoteRequest(3, 9, 2, pre=False, transfer=False),
        wire.VoteReply(7, granted=False, pre=False),
        wire.AppendReply(7, 0, False, 0, 0, 0, 0),
        wire.TimeoutNow(7),
    ):
        node.member.peer_message("n2", message)
        node.run()
    assert node.member.term == 0
    assert node.journal.voted_for is None
    assert not lab.wires["n1", "n2"]
    node.member.peer_message("n2", wire.Append(3, 1, 1, 0, 1, False, False, [(3, b"\x01")]))
    node.run()
    assert (node.member.term, node.member.waits_for) == (3, ())
