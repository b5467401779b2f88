"""On whose behalf a client asks: a request id and a `traceparent` of the caller's, told with every request.

    with traced(request_id="order-7", traceparent=span.traceparent):
        await client.put(b"orders/7", b"paid")

It holds for what is called inside the `with`, in the same task or thread, repetitions included, and for both clients.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kvstore.asking import ASKED, REQUEST_ID, asked
from kvstore.asking import traceparent as valid


@contextmanager
def traced(*, request_id: str = "", traceparent: str = "") -> Iterator[None]:
    """Tell nodes this id and this parent (W3C Trace Context, version 00) until the end of the `with`. Raises ValueError
    for what a node would not take.
    """
    if request_id and REQUEST_ID.fullmatch(request_id) is None:
        raise ValueError("a request id has 1 to 128 letters, digits, or some of ._~:/+=@-")
    if traceparent and not valid(traceparent):
        raise ValueError("a traceparent looks like 00-<32 hexadecimal digits>-<16 of them>-<2 of them>, in lower case")
    before = ASKED.set((request_id, traceparent))
    try:
        yield
    finally:
        ASKED.reset(before)


def with_asked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`headers`, and what the caller wants told."""
    found = asked()
    if found is None:
        return headers
    told = {"X-Request-Id": found.request_id} if found.request_id else {}
    if found.traceparent:
        told["traceparent"] = found.traceparent
    return {**headers, **told}
