"""What the retry loop needs from a way to carry requests, and how an attempt may end.

The three failures differ in what may have happened at the other end, which is all that a retry may depend on.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Request(NamedTuple):
    """One operation. `path` is percent-encoded already; `query` too.

    Each attempt adds `timeout_ms` to the query if `timed`: the path then is one that takes it. A write is `named` if it
    carries a name (a sequence of a session, an idempotency key) under which it is carried out once, however often it
    arrives; or if carrying it out twice does no harm.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | None
    write: bool
    timed: bool = True
    named: bool = False


class Reply(NamedTuple):
    """An answer that arrived whole. Names in `headers` are matched without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AttemptFailed(Exception):
    """An attempt without an answer."""


class NotSent(AttemptFailed):
    """No connection came about: nothing was sent."""


class Broken(AttemptFailed):
    """The connection ended before the whole answer was there; the request may have been carried out."""


class TimedOut(AttemptFailed):
    """The time of the attempt passed after a connection was there; the request may still be carried out."""


class Stream(Protocol):
    """An answer that arrives little by little. Names in `headers` are matched without regard to case."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """What has arrived, b"" at the end. Nothing is lost if the call is cancelled. Raises AttemptFailed, also after
        a silence.
        """
        ...

    def close(self) -> None:
        """Ends it, and its connection. Harmless when repeated; from any thread."""
        ...


class Transport(Protocol):
    """Carries one request to one endpoint, once. It must never send a request a second time by itself."""

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        """The answer, within `total_s` and without a silence of `idle_s`. Raises AttemptFailed."""
        ...

    async def open(self, endpoint: str, request: Request, *, begin_s: float, idle_s: float) -> Stream:
        """The beginning of an answer, within `begin_s`. A silence of `idle_s` ends it. Raises AttemptFailed."""
        ...

    async def close(self) -> None:
        """Ends every connection."""
        ...
