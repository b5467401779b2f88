"""The audit of locked versions: what it counts, and that what was skipped never passes."""

from typing import Any

import pytest

from tests.lock_audit import FOUND, INCOMPLETE, LOCKS, OK, ROOT, UNANSWERED_MAX, NotAudited, Pin, audit, known, pins

CLEAN: dict[str, Any] = {"info": {"name": "a", "yanked": False}, "vulnerabilities": [], "urls": []}
# As the index tells it, shortened.
KNOWN = {
    "info": {"name": "requests", "version": "2.19.0", "yanked": False, "yanked_reason": None},
    "vulnerabilities": [
        {
            "aliases": ["CVE-2018-18074"],
            "details": "The Requests package before 2.20.0 for Python\nsends an HTTP Authorization header.",
            "fixed_in": ["2.20.0"],
            "id": "PYSEC-2018-28",
            "source": "osv",
            "summary": None,
            "withdrawn": None,
        },
        {"aliases": [], "id": "PYSEC-0", "fixed_in": [], "summary": "no fault after all", "withdrawn": "2023-01-01"},
    ],
}
A, B, C = Pin("a", "1"), Pin("b", "2"), Pin("c", "3")


def answers(told: dict[Pin, Any]) -> Any:
    def ask(pin: Pin) -> Any:
        if isinstance(told[pin], str):
            raise NotAudited(told[pin])
        return told[pin]

    return ask


def test_what_is_known_of_a_release_is_told_and_what_was_taken_back_is_not() -> None:
    (found,) = known(KNOWN)
    assert found.startswith("PYSEC-2018-28 CVE-2018-18074: The Requests package before 2.20.0")
    assert found.endswith("(fixed: 2.20.0)")
    assert "\n" not in found
    assert known(CLEAN) == []
    assert known({"info": {"yanked": True, "yanked_reason": "broken"}, "vulnerabilities": []}) == [
        "withdrawn from the index: broken"
    ]


def test_all_audited_and_nothing_known_passes() -> None:
    result = audit([A, B], answers({A: CLEAN, B: CLEAN}))
    assert result.exit_code == OK
    assert result.lines() == ["audited 2 of 2 locked versions, 0 with something known"]


def test_what_was_skipped_is_counted_with_its_reason_and_is_no_success() -> None:
    result = audit([A, B, C], answers({A: CLEAN, B: "HTTP status 404", C: CLEAN}))
    assert result.exit_code == INCOMPLETE
    assert result.lines()[-2:] == [
        "audited 2 of 3 locked versions, 0 with something known",
        "skipped 1: HTTP status 404",
    ]


def test_something_known_outweighs_what_was_skipped() -> None:
    result = audit([A, B], answers({A: KNOWN, B: "HTTP status 404"}))
    assert result.exit_code == FOUND
    assert result.lines()[0].startswith("a 1: PYSEC-2018-28")


@pytest.mark.parametrize("odd", [[], {}, {"vulnerabilities": None}, "text"])
def test_an_answer_of_another_shape_is_no_audit(odd: Any) -> None:
    result = audit([A], lambda _pin: odd)
    assert (result.audited, result.exit_code) == ([], INCOMPLETE)


def test_an_index_that_does_not_answer_is_not_asked_for_ever() -> None:
    asked = []

    def ask(pin: Pin) -> Any:
        asked.append(pin)
        raise NotAudited("HTTP status 404")

    locked = [Pin("a", str(number)) for number in range(50)]
    result = audit(locked, ask)
    assert len(asked) == UNANSWERED_MAX
    assert len(result.skipped) == 50
    assert result.exit_code == INCOMPLETE


def test_an_empty_lock_is_no_success() -> None:
    assert audit([], answers({})).exit_code == INCOMPLETE


def test_every_version_of_both_locks_is_asked_for() -> None:
    texts = [(ROOT / name).read_text() for name in LOCKS]
    found = pins(texts)
    for text in texts:
        assert len(pins([text])) == sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines())
    assert {pin.name for pin in found} > {"aiohttp", "msgspec", "pysyncobj", "uvloop"}
