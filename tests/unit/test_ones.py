"""What the simulator says of a read at level ONE: which pending writes it may show, and which it must."""

import pytest

from kvjepsen.history import Answered, Broken, History
from kvstore.model.commands import Op, Origin, encode_intents
from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from tests.support.machines import intent_delete, intent_put

KEY = b"k"
MINE = 1_000


def entry(index: int, node: str, *ops: Op) -> tuple[bytes, int, int]:
    """The first intents of a node in the log."""
    return b"\0" + encode_intents(list(ops), Stamp(MINE, 0, "n3", 0), Origin(node, 1, 0, 1, MINE)), index, 1


def write(history: History, kind: str, at_s: float, *nodes: str, receipt: str | None) -> Answered:
    """One at level ONE that these nodes were sent; the first one acknowledged it, if there is a receipt."""
    answered = history.begin(kind, KEY, b"mine" if kind == "put" else b"", nodes[0], "one", at_s)
    answered.sent = [(node, at_s) for node in nodes]
    if receipt is not None:
        history.pending(answered, receipt, at_s)
    return answered


def read(history: History, shown: Record | None, began_s: float, at_s: float, revision: int, index: int) -> Answered:
    answered = history.begin("get", KEY, b"", "n1", "one", began_s)
    history.read(answered, {KEY: shown}, revision, index, 0, at_s)
    return answered


PUT = intent_put(KEY, b"mine", 10)
WITHOUT = "without a write of its own node"


def test_a_pending_write_that_is_not_shown_is_missed() -> None:
    history = History()
    write(history, "put", 1.0, "n1", receipt="n1.1.1")
    read(history, None, 3.0, 3.0, 0, 1)
    with pytest.raises(Broken, match=WITHOUT):
        history.check([entry(2, "n1", PUT)], frozenset())


def test_the_copy_of_a_deletion_that_another_node_acknowledged_may_lie_over_it() -> None:
    history = History()
    write(history, "put", 1.0, "n1", receipt="n1.1.1")
    write(history, "delete", 2.0, "n2", "n1", receipt="n2.1.1")
    read(history, None, 3.0, 3.0, 0, 1)
    log = [entry(2, "n1", PUT, intent_delete(KEY, 12, once=b"o")), entry(3, "n2", intent_delete(KEY, 11, once=b"o"))]
    history.check(log, frozenset())


def test_but_not_once_the_state_that_was_read_had_the_other_copy() -> None:
    """The copy here changes nothing any more, so what it lay over is next."""
    history = History()
    write(history, "put", 1.0, "n1", receipt="n1.1.1")
    write(history, "delete", 2.0, "n2", "n1", receipt="n2.1.1")
    read(history, None, 3.0, 3.0, 1, 2)
    log = [entry(2, "n2", intent_delete(KEY, 9, once=b"o")), entry(3, "n1", PUT, intent_delete(KEY, 12, once=b"o"))]
    with pytest.raises(Broken, match=WITHOUT):
        history.check(log, frozenset())


@pytest.mark.parametrize(("at_s", "holds"), [(0.5, False), (2.5, True), (3.5, False)])
def test_a_deletion_counts_if_it_came_after_the_write_and_before_the_answer(at_s: float, holds: bool) -> None:
    history = History()
    deleted_first = at_s < 1.0
    if deleted_first:
        write(history, "delete", at_s, "n1", receipt="n1.1.1")
    write(history, "put", 1.0, "n1", receipt="n1.1.2" if deleted_first else "n1.1.1")
    if not deleted_first:
        write(history, "delete", at_s, "n1", receipt="n1.1.2")
    read(history, None, 2.0, 3.0, 0, 1)
    ops = (intent_delete(KEY, 5), PUT) if deleted_first else (PUT, intent_delete(KEY, 12))
    if holds:
        history.check([entry(2, "n1", *ops)], frozenset())
    else:
        with pytest.raises(Broken, match=WITHOUT):
            history.check([entry(2, "n1", *ops)], frozenset())


@pytest.mark.parametrize("copied", [True, False])
def test_a_write_that_another_nodes_copy_has_made_already_lies_over_nothing(copied: bool) -> None:
    """Although its own copy comes later in the log, and with a stamp above what was read."""
    history = History()
    write(history, "put", 1.0, "n1", "n2", receipt="n1.1.1")
    read(history, Record(b"other", 1, 2, 2, 0, Stamp(20, 0, "n3", 1)), 3.0, 3.0, 2, 3)
    once = b"o" if copied else None
    log = [
        entry(2, "n2", intent_put(KEY, b"mine" if copied else b"first", 9, once=once)),
        entry(3, "n3", intent_put(KEY, b"other", 20)),
        entry(4, "n1", intent_put(KEY, b"mine", 30, once=once)),
    ]
    if copied:
        history.check(log, frozenset())
    else:
        with pytest.raises(Broken, match=WITHOUT):
            history.check(log, frozenset())
