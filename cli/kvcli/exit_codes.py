"""Exit codes of every `kv` command, and the words that go with an error.

A message says what happened, whether it took effect, and what to do. The codes are the ones of the error tree in
kvstore/errors.py; 2 and 130 come from the command line itself, 141 is the usual code of a program whose reader left.
"""

from enum import IntEnum
from typing import Final

from kvstore.errors import (
    BadRequest,
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    Divergence,
    KvError,
    LocalError,
    MembersUnreachable,
    NoQuorum,
    PreconditionFailed,
)


class Exit(IntEnum):
    """What a script may rely on; `kv help exit-codes` names the codes."""

    OK = 0
    ABSENT = 1
    USAGE = 2
    CANNOT_CONNECT = 3
    REFUSED = 4
    UNKNOWN = 5
    NOT_ALLOWED = 6
    INVALID = 7
    INTERNAL = 8
    INTERRUPTED = 130
    READER_GONE = 141


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "Done.",
    Exit.ABSENT: "The key is absent, or a condition was not met.",
    Exit.USAGE: "Wrong usage: nothing was tried.",
    Exit.CANNOT_CONNECT: "No node could be reached: nothing was sent.",
    Exit.REFUSED: "Refused, nothing was applied: no quorum, no leader, no room, too much load.",
    Exit.UNKNOWN: (
        "The outcome is unknown: it may have taken effect, or may still. Also: a lock or leadership was "
        "lost; a chaos run was vacuous, it did too little to judge by, or a check found no verdict in time."
    ),
    Exit.NOT_ALLOWED: "Not allowed: who asks is not known, or may not do this.",
    Exit.INVALID: "Invalid, too large, too old, or corrupt.",
    Exit.INTERNAL: "An internal error, or contents that differ between nodes.",
    Exit.INTERRUPTED: "Interrupted. A write that was under way may have taken effect.",
    Exit.READER_GONE: "Whoever read the output has left.",
}

_UNKNOWN = "The write may have taken effect, or may still"
_NOT_APPLIED = "Nothing was applied."
_WRITE: Final = "kv_write"


def exit_code(error: KvError | LocalError) -> int:
    """The exit code for an error."""
    return error.exit_code


def explain(error: KvError | LocalError) -> str:
    """A message for people, without the program's name before it."""
    return " ".join([_explain(error), *notes(error)])


def of_write(error: CannotConnect) -> None:
    """Whoever could not be reached was to write something."""
    setattr(error, _WRITE, True)


def notes(error: BaseException) -> list[str]:
    """What was added to an error on its way."""
    return list(getattr(error, "__notes__", []))


def _explain(error: KvError | LocalError) -> str:
    if isinstance(error, CannotConnect):
        # What to do stands below it (kvcli.nobody).
        return f"cannot connect ({error}). Nothing was sent{', so nothing was applied' * hasattr(error, _WRITE)}."
    if isinstance(error, ConnectionLost):
        return f"the connection was lost after the write had been sent ({error}). {_unknown(error)}"
    if isinstance(error, LocalError):
        return str(error)
    return f"{_sentence(error.detail)} {_fate(error)}".rstrip()


def _fate(error: KvError) -> str:
    if error.outcome == "committed":
        missing = f" Not yet confirmed by: {', '.join(error.missing)}." if error.missing else ""
        return f"The write took effect, but not at the level that was asked for.{missing}"
    if error.outcome == "unknown":
        return _unknown(error)
    if isinstance(error, Divergence):
        return "No answer is given; 'kv doctor' shows the alarm."
    if isinstance(error, (NoQuorum, MembersUnreachable)):
        # It is not the moment that helps, but a node that is started: who is down stands below (kvcli.situation).
        return "" if error.outcome is None else _NOT_APPLIED
    again = "Try again" + (f" in {error.retry_after_s:g} s." if error.retry_after_s else " in a moment.")
    if error.outcome is None:
        return again if error.retry_safe or isinstance(error, DeadlineExceeded) else ""
    if isinstance(error, PreconditionFailed):
        return "The key was not changed."
    if isinstance(error, BadRequest) or not error.retry_safe:
        return _NOT_APPLIED
    return f"{_NOT_APPLIED} {again}"


def _unknown(error: KvError | LocalError) -> str:
    return _UNKNOWN + ("." if notes(error) else ": read the key back before you write it again.")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
