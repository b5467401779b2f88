"""The HTTP door by batches: the client library puts calls together that are begun in one turn of its loop."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from kvcli.bench.doors import http
from kvcli.bench.doors.http import HttpCaller
from kvcli.bench.plan import Plan


def open_callers(plan: Plan) -> AbstractAsyncContextManager[Sequence[HttpCaller]]:
    """As for the HTTP door, with automatic batching."""
    return http.open_callers(plan, batching=True)
