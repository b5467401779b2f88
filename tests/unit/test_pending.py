"""Proposals whose fate is open: each is told, once."""

from typing import Any

from kvstore.consensus.pending import Pending
from kvstore.errors import DeadlineExceeded, KvError


def test_a_proposal_whose_place_another_one_takes_is_told_that_its_outcome_is_unknown() -> None:
    """Led, lost what was appended at this index, and leads again."""
    pending = Pending()
    told: list[tuple[str, Any, KvError | None]] = []
    pending.add(5, 1, lambda result, _index, error: told.append(("first", result, error)))
    pending.add(5, 3, lambda result, _index, error: told.append(("second", result, error)))
    pending.applied(5, 3, "done")
    pending.resolve()
    assert [who for who, _, _ in told] == ["first", "second"]
    assert isinstance(told[0][2], DeadlineExceeded)
    assert told[0][2].outcome == "unknown"
    assert told[1][1:] == ("done", None)
