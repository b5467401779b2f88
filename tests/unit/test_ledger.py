"""What the durability ledger calls a broken promise, and what it does not."""

import pytest

from kvjepsen.ledger import Ledger
from kvstore.model.results import Record
from kvstore.model.stamp import ZERO_STAMP

KEY = b"k"


def record(value: bytes, mod_revision: int) -> Record:
    return Record(value, mod_revision, mod_revision, 1, 0, ZERO_STAMP)


@pytest.fixture
def ledger() -> Ledger:
    """One key, acknowledged with value "new" at revision 7 after "old" at revision 5."""
    ledger = Ledger()
    ledger.acknowledge(ledger.attempt(KEY, b"old"), 5, "quorum")
    ledger.acknowledge(ledger.attempt(KEY, b"new"), 7, "all")
    return ledger


def kind(ledger: Ledger, seen: Record | None, key: bytes = KEY) -> str | None:
    finding = ledger.judge(key, seen, "n1 at ONE")
    return None if finding is None else finding.kind


def test_the_acknowledged_value_is_right(ledger: Ledger) -> None:
    assert kind(ledger, record(b"new", 7)) is None


def test_an_absent_key_is_lost(ledger: Ledger) -> None:
    assert kind(ledger, None) == "lost"


def test_the_value_before_is_stale(ledger: Ledger) -> None:
    assert kind(ledger, record(b"old", 5)) == "stale"


@pytest.mark.parametrize("seen", [record(b"other", 7), record(b"other", 8), record(b"old", 8), record(b"new", 8)])
def test_anything_else_is_altered(ledger: Ledger, seen: Record) -> None:
    assert kind(ledger, seen) == "altered"


def test_a_write_of_unknown_outcome_may_show_later_but_only_above_the_acknowledged_one(ledger: Ledger) -> None:
    ledger.attempt(KEY, b"perhaps")
    assert kind(ledger, record(b"perhaps", 8)) is None
    assert kind(ledger, record(b"new", 7)) is None
    assert kind(ledger, record(b"perhaps", 7)) == "altered"
    assert kind(ledger, record(b"perhaps", 6)) == "stale"
    assert ledger.unknown == 1


def test_a_refused_write_must_never_show(ledger: Ledger) -> None:
    ledger.refuse(ledger.attempt(KEY, b"refused"))
    assert kind(ledger, record(b"refused", 8)) == "altered"
    assert (ledger.acknowledged, ledger.refused, ledger.unknown) == (2, 1, 0)


def test_an_acknowledged_delete_leaves_the_key_absent(ledger: Ledger) -> None:
    ledger.acknowledge(ledger.attempt(KEY, None), 9, "quorum")
    assert kind(ledger, None) is None
    assert kind(ledger, record(b"new", 7)) == "stale"
    assert kind(ledger, record(b"new", 10)) == "altered"


def test_a_delete_of_unknown_outcome_may_have_removed_the_key(ledger: Ledger) -> None:
    ledger.attempt(KEY, None)
    assert kind(ledger, None) is None
    assert kind(ledger, record(b"new", 7)) is None


def test_a_put_repeated_after_an_unknown_outcome_may_have_been_applied_twice() -> None:
    ledger = Ledger()
    ledger.attempt(KEY, b"value")
    ledger.acknowledge(ledger.attempt(KEY, b"value"), 3, "quorum")
    assert kind(ledger, record(b"value", 3)) is None
    assert kind(ledger, record(b"value", 4)) is None


def test_a_key_never_acknowledged_may_be_absent_or_hold_what_was_tried() -> None:
    ledger = Ledger()
    ledger.attempt(KEY, b"tried")
    assert kind(ledger, None) is None
    assert kind(ledger, record(b"tried", 3)) is None
    assert kind(ledger, record(b"never tried", 3)) == "altered"


def test_a_key_that_nobody_wrote_is_invented(ledger: Ledger) -> None:
    assert kind(ledger, record(b"x", 9), key=b"stranger") == "invented"
    assert kind(ledger, None, key=b"stranger") is None


def test_two_writes_with_one_revision_are_found_from_the_answers_alone(ledger: Ledger) -> None:
    ledger.acknowledge(ledger.attempt(b"other", b"x"), 7, "quorum")
    assert [finding.kind for finding in ledger.findings] == ["repeated revision"]


def test_a_revision_that_goes_back_is_found_from_the_answers_alone(ledger: Ledger) -> None:
    ledger.acknowledge(ledger.attempt(KEY, b"x"), 6, "quorum")
    assert [finding.kind for finding in ledger.findings] == ["revision went back"]


def test_a_sound_history_has_no_findings(ledger: Ledger) -> None:
    assert ledger.findings == []
