"""Sessions: a client that numbers its writes can repeat any of them without having it applied twice (dissertation 6.3).

S1. A session's number comes from a counter and is never given again: one below the counter that is not there has
    expired or was closed.
S2. It expires once `session_window_ms` of log time have passed since its last use. Log time is what entries carry, so
    every replica expires it at the same entry.
S3. Each write tells the lowest sequence that its client still waits for, the floor. Answers below it are forgotten; a
    write below it has been answered, and is not executed again.
S4. A sequence that has an answer gets the same answer, whatever its condition would say now; another request under
    that sequence is a conflict.
S5. The answers of one session and of all of them are bounded, in number and bytes, and so is the number of sessions.
    What would exceed a bound is refused; no answer is forgotten early to make room. Once half of all are taken, a
    session may hold few more, so that a few clients that have gone away cannot keep out all others; and a session that
    never had an answer makes room for a new one.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from kvstore.model.results import EXPIRED, FULL, ONCE_CONFLICT, OpResult
from kvstore.state.settings import (
    ANSWERS_MAX,
    KEPT_ANSWERS_BYTES_MAX,
    SESSION_ANSWERS_MAX,
    SESSION_WINDOW_MS,
    SESSIONS_MAX,
)

RawAnswer = tuple[int, int, int, int, bytes]
"""(request digest, status, revision, version, detail)"""

_CONFLICT: Final = OpResult(ONCE_CONFLICT, 0, 0)
_EXPIRED: Final = OpResult(EXPIRED, 0, 0)
_FULL: Final = OpResult(FULL, 0, 0)

_SCARCE_SHARE: Final = 16
_UNUSED_LOOKED_AT_MAX: Final = 64


class _Session:
    __slots__ = ("answers", "floor", "used_ms")

    def __init__(self, used_ms: int, floor: int, answers: dict[int, RawAnswer]) -> None:
        self.used_ms = used_ms
        self.floor = floor
        self.answers = answers


class Sessions:
    """All sessions, in the order of their last use."""

    __slots__ = ("_sessions", "answers", "bytes", "next_number")

    def __init__(self) -> None:
        self._sessions: OrderedDict[int, _Session] = OrderedDict()
        self.next_number = 1
        self.answers = 0
        self.bytes = 0  # of details: an answer without one is as small as any other

    def __len__(self) -> int:
        return len(self._sessions)

    def expire(self, now_ms: int, settings: Mapping[str, int]) -> None:
        """S2, at log time `now_ms`."""
        sessions = self._sessions
        while sessions:
            number, oldest = next(iter(sessions.items()))
            if oldest.used_ms + settings[SESSION_WINDOW_MS] > now_ms:
                return
            self.close(number)

    def open(self, now_ms: int, settings: Mapping[str, int]) -> int | None:
        """The number of a new session, or None if there are too many."""
        if len(self._sessions) >= settings[SESSIONS_MAX] and not self._close_unused():
            return None
        number = self.next_number
        self.next_number += 1
        self._sessions[number] = _Session(now_ms, 1, {})
        return number

    def _close_unused(self) -> bool:
        """Make room by a session, among those used least lately, that never had an answer."""
        for number, session in islice(self._sessions.items(), _UNUSED_LOOKED_AT_MAX):
            if session.floor == 1 and not session.answers:
                return self.close(number)
        return False

    def close(self, number: int) -> bool:
        """Forget the session; False if there is none."""
        gone = self._sessions.pop(number, None)
        if gone is None:
            return False
        self.answers -= len(gone.answers)
        self.bytes -= _bytes(gone.answers)
        return True

    def answer(
        self, number: int, sequence: int, floor: int, digest: int, now_ms: int, settings: Mapping[str, int]
    ) -> OpResult | None:
        """What the write is to be answered without being executed, or None: execute it, then call `keep`."""
        session = self._sessions.get(number)
        if session is None:
            return _EXPIRED
        session.used_ms = now_ms
        self._sessions.move_to_end(number)
        if floor > session.floor:
            self._forget_below(session, floor)
        if sequence < session.floor:
            return _EXPIRED
        kept = session.answers.get(sequence)
        if kept is not None:
            return OpResult(*kept[1:]) if kept[0] == digest else _CONFLICT
        answers_max = settings[ANSWERS_MAX]
        share = settings[SESSION_ANSWERS_MAX]
        if 2 * self.answers >= answers_max:
            share = min(share, _SCARCE_SHARE)
        if len(session.answers) >= share or self.answers >= answers_max:
            return _FULL
        if self.bytes >= settings[KEPT_ANSWERS_BYTES_MAX]:
            return _FULL
        return None

    def keep(self, number: int, sequence: int, digest: int, result: OpResult) -> None:
        """Remember the answer of a write that was executed."""
        self._sessions[number].answers[sequence] = (digest, *result)
        self.answers += 1
        self.bytes += len(result.detail)

    def _forget_below(self, session: _Session, floor: int) -> None:
        answers = session.answers
        if floor - session.floor <= len(answers):
            gone = [answers.pop(each) for each in range(session.floor, floor) if each in answers]
        else:
            gone = [kept for each, kept in answers.items() if each < floor]
            session.answers = {each: kept for each, kept in answers.items() if each >= floor}
        session.floor = floor
        self.answers -= len(gone)
        for kept in gone:
            self.bytes -= len(kept[4])

    # -- snapshots

    def rows(self) -> Iterator[Any]:
        """Every session as it is at this call, in order: (number, used_ms, floor, [(sequence, *answer), ...])."""
        copied = [(number, each.used_ms, each.floor, each.answers.copy()) for number, each in self._sessions.items()]
        return (
            (number, used_ms, floor, [(sequence, *kept) for sequence, kept in answers.items()])
            for number, used_ms, floor, answers in copied
        )

    def add_row(self, row: Any) -> None:
        """Take back one of `rows`. Raises ValueError or TypeError for anything else."""
        number, used_ms, floor, answers = row
        found: dict[int, RawAnswer] = {}
        for sequence, digest, status, revision, version, detail in answers:
            _check_numbers(sequence, digest, status, revision, version)
            if type(detail) is not bytes:
                raise ValueError("the detail of an answer")
            found[sequence] = (digest, status, revision, version, detail)
        _check_numbers(number, used_ms, floor)
        if number in self._sessions or not 0 < number < self.next_number or len(found) != len(answers):
            raise ValueError("a session twice, or one that was never given out")
        if self._sessions and used_ms < next(reversed(self._sessions.values())).used_ms:
            raise ValueError("sessions that are not in the order of their last use")
        self._sessions[number] = _Session(used_ms, floor, found)
        self.answers += len(found)
        self.bytes += _bytes(found)


def _bytes(answers: Mapping[int, RawAnswer]) -> int:
    return sum(len(kept[4]) for kept in answers.values())


def _check_numbers(*numbers: Any) -> None:
    for number in numbers:
        if type(number) is not int or number < 0:
            raise ValueError(f"{number!r} is no count")
