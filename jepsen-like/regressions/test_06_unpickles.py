"""Fact 6: everything on the wire, and membership in the log, is pickle: whoever reaches the port runs code.

Engine: `tcp_connection.TcpConnection.__processParseMessage`, `SyncObj.__onMessageReceived` (transmission),
`SyncObj.__doApplyCommand`, `SyncObj.__parseChangeClusterRequest`.
Here: `consensus.wire` decodes msgpack into checked messages; `following._readable` refuses the kinds 2 and 3;
the handlers that unpickle are replaced in `consensus.raft`. (On a live
cluster: tests/e2e/test_no_pickle.py.)
"""

import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pysyncobj.pickle  # type: ignore[import-untyped]
import pytest

from kvstore.consensus import messages
from kvstore.consensus.wire import FrameDecoder, decode_greeting, decode_message, encode_frame
from regressions.published import published
from regressions.schedules import followers
from tests.support.lab import Lab


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_the_published_engine_runs_code_from_the_network_and_from_its_log(tmp_path: Path) -> None:
    ran = published("unpickles", tmp_path)["ran"]
    assert ran == dict.fromkeys(["frame", "kind-0", "kind-2", "kind-3", "transmission"], True)


def test_here_a_pickle_is_no_message(tmp_path: Path) -> None:
    data = pickle.dumps(Payload(tmp_path / "ran"), 2)
    decoder = FrameDecoder()
    decoder.feed(encode_frame(data))
    payload = decoder.next_payload()
    assert payload == data
    for decode in (decode_message, decode_greeting):
        with pytest.raises(messages.BadMessage):
            decode(payload)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something is unpickled")

    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in ("load", "loads"):
        monkeypatch.setattr(pysyncobj.pickle, name, refuse)


@pytest.mark.usefixtures("no_pickle")
def test_here_pickled_kinds_of_entries_are_refused_and_what_a_client_wrote_stays_bytes(tmp_path: Path) -> None:
    data = pickle.dumps(Payload(tmp_path / "ran"), 2)
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    leader.propose(b"x")
    append = lab.wires[leader.name, follower.name].popleft()
    assert isinstance(append, messages.Append)
    for kind in (b"\x02", b"\x03"):
        before, dropped = list(follower.journal.entries), follower.member.dropped_total
        follower.member.peer_message(
            leader.name, msgspec.structs.replace(append, entries=[(append.term, kind + data)], commit_index=99)
        )
        follower.run()
        assert follower.journal.entries == before
        assert follower.member.dropped_total == dropped + 1
    follower.member.peer_message(leader.name, append)
    outcome = leader.propose(data)
    lab.advance(0.2)
    assert outcome == [data]
    assert [node.log for node in lab.nodes.values()] == [[b"x", data]] * 3
    assert not (tmp_path / "ran").exists()
