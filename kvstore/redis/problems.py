"""Errors as replies: the first word of each is stable, so that a program can decide on it.

What a caller has to decide on comes first: a write whose outcome is unknown is UNKNOWNOUTCOME, whatever went wrong, and
one that is committed but missed its level is LEVELNOTMET. Everything else was not applied.
"""

from typing import Final

from kvstore.errors import (
    AuthChanged,
    AuthNotFound,
    AuthRefused,
    BadRequest,
    Compacted,
    DeadlineExceeded,
    Discarded,
    Divergence,
    Forbidden,
    IdempotencyConflict,
    IdempotencyExpired,
    InternalError,
    KeyTooLong,
    KvError,
    LeaseNotFound,
    MembershipRefused,
    MembersUnreachable,
    MethodNotAllowed,
    NoLeader,
    NoQuorum,
    NotAVoter,
    NotFound,
    Outcome,
    Overloaded,
    PreconditionFailed,
    RouteNotFound,
    StorageFull,
    TooLarge,
    TooManyTries,
    Unauthenticated,
    UpgradeIncomplete,
)
from kvstore.redis.replies import Error, error

UNKNOWN_OUTCOME: Final = "UNKNOWNOUTCOME"
LEVEL_NOT_MET: Final = "LEVELNOTMET"

PREFIXES: Final[dict[type[KvError], str]] = {
    BadRequest: "ERR",
    Unauthenticated: "WRONGPASS",
    Forbidden: "NOPERM",
    AuthNotFound: "ERR",
    AuthRefused: "ERR",
    AuthChanged: "AUTHCHANGED",
    TooManyTries: "OVERLOADED",
    NotFound: "ERR",
    RouteNotFound: "ERR",
    MethodNotAllowed: "ERR",
    MembershipRefused: "ERR",
    PreconditionFailed: "CONTENDED",
    IdempotencyConflict: "ERR",
    IdempotencyExpired: "ERR",
    LeaseNotFound: "LEASENOTFOUND",
    Compacted: "COMPACTED",
    TooLarge: "TOOLARGE",
    KeyTooLong: "TOOLARGE",
    Overloaded: "OVERLOADED",
    InternalError: "INTERNAL",
    Divergence: "DIVERGENCE",
    NoQuorum: "NOQUORUM",
    NoLeader: "NOLEADER",
    MembersUnreachable: "MEMBERSUNREACHABLE",
    Discarded: "DISCARDED",
    NotAVoter: "READONLY",
    UpgradeIncomplete: "UPGRADEINCOMPLETE",
    DeadlineExceeded: "TIMEOUT",
    StorageFull: "STORAGEFULL",
}

# What each prefix tells a client, in the order of the page (docs/redis.md).
MEANINGS: Final = {
    "ERR": "the command is unknown, not supported, malformed or out of bounds; nothing was applied",
    UNKNOWN_OUTCOME: "the write may or may not have taken effect, or may yet: read before you write again",
    LEVEL_NOT_MET: "at level `all`: the write is committed and stays, but is not known to be on every voter",
    "NOQUORUM": "a majority of the voters cannot be reached; nothing was applied",
    "NOLEADER": "nobody leads at the moment; nothing was applied",
    "MEMBERSUNREACHABLE": "level `all`, and a voter cannot be reached; nothing was applied",
    "DISCARDED": "another leader's entry took the write's place in the log; nothing was applied, nor will it be",
    "TIMEOUT": "a read was not confirmed in time",
    "READONLY": "level `one` at a node that is no voter: ask another one",
    "LEVELONE": "the command's result depends on the present value, which level `one` does not know: `KV.LEVEL quorum`",
    "CONTENDED": "other nodes' clients changed the same keys again and again, or a key was busy for too long; nothing "
    "was applied",
    "OVERLOADED": "a bounded queue, or a table of the store, is full; nothing was applied; come back in a moment",
    "TOOLARGE": "a key, value, command, transaction or answer is above its bound; nothing was applied",
    "STORAGEFULL": "a majority of the voters has no room on disk; reads and deletes go on",
    "LEASENOTFOUND": "the time to live ended while it was being set; nothing was applied",
    "UPGRADEINCOMPLETE": "a member does not know this operation yet; nothing was applied",
    "COMPACTED": "what is asked for is older than the history that is kept",
    "DIVERGENCE": "replicas hold different content: an alarm is raised, no answer is given",
    "INTERNAL": "a fault of the server; of a write, nothing was applied",
    "NOAUTH": "auth is enabled, and this connection has not said who it is, or its token has expired",
    "WRONGPASS": "no such user, or not this password, or a token that is not good",
    "NOPERM": "the user may not do this with this key; nothing was applied",
    "AUTHCHANGED": "users or roles changed while it was under way; nothing was applied",
    "EXECABORT": "`EXEC` of a transaction in which a command was refused; nothing was applied",
    "NOPROTO": "`HELLO` with another protocol than 2 or 3",
    "LAGGED": "a subscriber was too slow: the connection is closed rather than that a message is left out",
    "SHUTTINGDOWN": "this node stops, or knows no leader any more: the command was not carried out, or a subscription "
    "ends; the connection is closed",
}

# What the prefixes tell that are no one error's; of the others the first in PREFIXES is taken.
_UNDERSTOOD: Final[dict[str, type[KvError]]] = {
    **{prefix: error for error, prefix in reversed(PREFIXES.items())},
    UNKNOWN_OUTCOME: DeadlineExceeded,
    LEVEL_NOT_MET: DeadlineExceeded,
    "LEVELONE": BadRequest,
    "CONTENDED": Overloaded,
    "NOAUTH": Unauthenticated,
    "EXECABORT": BadRequest,
    "NOPROTO": BadRequest,
    "LAGGED": Overloaded,
    "SHUTTINGDOWN": NoLeader,
}


class CommandError(Exception):
    """A command that is refused by the door itself: nothing was applied."""

    def __init__(self, text: str, prefix: str = "ERR") -> None:
        super().__init__(text)
        self.reply = error(prefix, text)


def syntax_error() -> CommandError:
    """What Redis says of options that it cannot read."""
    return CommandError("syntax error")


def too_large(text: str) -> CommandError:
    """Something above its bound."""
    return CommandError(text, "TOOLARGE")


def told(failed: KvError, *, read: bool = False) -> Error:
    """The reply that tells `failed`. `read`: it is known that nothing was to be changed."""
    return error(prefix_of(failed, read=read), _text(failed))


def prefix_of(failed: KvError, *, read: bool = False) -> str:
    """The first word of the reply that tells `failed`."""
    if read:
        return PREFIXES.get(type(failed), "INTERNAL")
    if failed.outcome == "unknown":
        return UNKNOWN_OUTCOME
    if failed.outcome == "committed":
        return LEVEL_NOT_MET
    return PREFIXES.get(type(failed), "INTERNAL")


def _text(failed: KvError) -> str:
    known = [
        f"{name} {value}"
        for name, value in (
            ("level", failed.level),
            ("leader", failed.leader),
            ("required", failed.required),
            ("acked", failed.acked),
            ("missing", ",".join(failed.missing) or None),
        )
        if value is not None
    ]
    return f"{failed.detail} ({', '.join(known)})" if known else failed.detail


def understood(text: str, *, read: bool = False) -> KvError:
    """The error that an error reply tells to a client. `read`: of a command that changes nothing, so has no outcome.

    A prefix that is not known says nothing about what became of a write: its outcome is unknown.
    """
    prefix = text.partition(" ")[0]
    kind = _UNDERSTOOD.get(prefix)
    if kind is None:
        return InternalError(text, read=read)
    outcome: Outcome = "not_applied"
    if prefix == UNKNOWN_OUTCOME:
        outcome = "unknown"
    elif prefix == LEVEL_NOT_MET:
        outcome = "committed"
    return kind(text, read=read, outcome=outcome)
