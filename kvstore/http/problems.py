"""Errors as answers: `application/problem+json` (RFC 9457), with all that a caller must decide on."""

import copy
import math

import msgspec
from msgspec import UNSET, UnsetType

from kvstore.errors import KvError, Outcome
from kvstore.http.answer import PROBLEM, Answer, content_type
from kvstore.model.levels import Level

_CONTENT_TYPE = content_type(PROBLEM)


class ProblemBody(msgspec.Struct):
    """What `KvError.to_problem` tells; `revision` where something was compacted, if it is known what is left."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    outcome: Outcome | None
    level: Level | None
    required: int | None
    acked: int | None
    missing: list[str]
    leader: str | None
    receipt: str | None
    request_id: str | None
    retry_safe: bool
    revision: int | UnsetType = UNSET


class Refused(Exception):
    """An error together with header lines that describe the state which answered."""

    def __init__(self, error: KvError, headers: bytes) -> None:
        super().__init__(error.detail)
        self.error = error
        self.headers = headers


def problem(error: KvError, *, request_id: str, read: bool, level: str | None, headers: bytes = b"") -> Answer:
    """The answer that says `error`. `read`: the outcome is null, for a read changes nothing.

    `level` is filled in where the error does not say. `headers` are further complete header lines.
    """
    if read and error.outcome is not None:
        # A copy: one instance may have been raised to many waiters, writes among them.
        error = copy.copy(error)
        error.outcome = None
    body = error.to_problem()
    body["request_id"] = request_id
    body["level"] = error.level or level
    lines = _CONTENT_TYPE + headers
    if error.retry_after_s is not None and error.status in (429, 503):
        lines += b"Retry-After: %d\r\n" % max(1, math.ceil(error.retry_after_s))
    if error.status == 401:
        lines += b"WWW-Authenticate: Bearer\r\n"
    answer = Answer(error.status, lines, msgspec.json.encode(body), body["level"] or "")
    answer.outcome = error.outcome or ""
    return answer
