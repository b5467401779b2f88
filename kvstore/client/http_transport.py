"""The client's HTTP over aiohttp. No other file uses aiohttp's client.

Three of its habits are switched off. It sends PUT and DELETE again by itself when a kept connection turns out to be
closed, as if they were harmless to repeat; a conditional write that took effect would then report a failed condition.
It tidies paths, follows redirects, unpacks bodies and keeps cookies, which a store of arbitrary bytes must not. And its
timer for a whole request takes a cancellation that comes with the timeout for its own, so that a task goes on although
it was cancelled; asyncio's timer tells the two apart.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from kvstore import limits
from kvstore.client.tracing import with_asked
from kvstore.client.wire import Broken, NotSent, Reply, Request, Stream, TimedOut
from kvstore.security.client import ClientContext, Tls
from kvstore.security.reasons import NOT_TLS, REJECTED, is_rejection, reason_of, sentence

if TYPE_CHECKING:
    from aiohttp.client import _RequestContextManager


class HttpTransport:
    """A pool of connections. It opens with the first request and belongs to that event loop."""

    def __init__(self, tls: Tls | None = None) -> None:
        """`tls`: for endpoints that are https. Raises BadCertificates for files that cannot be used."""
        self._tls = None if tls is None else ClientContext(tls)
        self._session: aiohttp.ClientSession | None = None
        # Streams stay open: in one pool with the rest they would use it up.
        self._streams: aiohttp.ClientSession | None = None

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        """See Transport.send. A connection is tried for at most `CONNECT_S_MAX`."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(limits.CONNECT_S_MAX, idle_s), sock_read=idle_s, ceil_threshold=3600
        )
        if self._session is None:
            self._session = _session(limits.CLIENT_CONNECTIONS_MAX)
        with _failures():
            async with asyncio.timeout(total_s), self._request(self._session, endpoint, request, timeout) as answer:
                return Reply(answer.status, answer.headers, await _bounded_body(answer))

    async def open(self, endpoint: str, request: Request, *, begin_s: float, idle_s: float) -> Stream:
        """See Transport.open."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(limits.CONNECT_S_MAX, begin_s), sock_read=idle_s, ceil_threshold=3600
        )
        if self._streams is None:
            self._streams = _session(limits.CLIENT_STREAMS_MAX)
        with _failures():
            async with asyncio.timeout(begin_s):
                return _HttpStream(await self._request(self._streams, endpoint, request, timeout))

    def _request(
        self, session: aiohttp.ClientSession, endpoint: str, request: Request, timeout: aiohttp.ClientTimeout
    ) -> "_RequestContextManager":
        if not endpoint.startswith("https:"):
            return _request(session, endpoint, request, timeout, True)
        if self._tls is None:
            self._tls = ClientContext(Tls())
        # Connections are kept by context, too: another one makes new connections, and the former ones are left to end.
        return _request(session, endpoint, request, timeout, self._tls.now())

    async def close(self) -> None:
        """Ends every connection."""
        for session in (self._session, self._streams):
            if session is not None:
                await session.close()
        self._session = self._streams = None


class _HttpStream:
    """See Stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        with _failures():
            return await self._answer.content.readany()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        # Closing alone would leave who reads waiting.
        self._answer.content.set_exception(aiohttp.ClientConnectionError("closed on this side"))
        self._answer.close()


def _session(connections_max: int) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max, use_dns_cache=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
    )
    # There is no public switch for this; a test sends a PUT into a closing connection and counts arrivals.
    session._retry_connection = False
    return session


def _request(
    session: aiohttp.ClientSession,
    endpoint: str,
    request: Request,
    timeout: aiohttp.ClientTimeout,
    context: ssl.SSLContext | bool,
) -> "_RequestContextManager":
    address = f"{endpoint}{request.path}?{request.query}" if request.query else endpoint + request.path
    return session.request(
        request.method,
        URL(address, encoded=True),
        headers=with_asked(request.headers),
        data=request.body,
        timeout=timeout,
        ssl=context,
        allow_redirects=False,
    )


@contextmanager
def _failures() -> Iterator[None]:
    """Says of every failure what may have happened at the other end."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as stranger:
        raise NotSent(_distrust(stranger.certificate_error)) from stranger
    except aiohttp.ClientConnectorSSLError as wrong:
        raise NotSent(_tls_words(wrong.os_error)) from wrong
    except aiohttp.ClientConnectorError as refused:
        raise NotSent(_words(refused.os_error)) from refused
    except aiohttp.ConnectionTimeoutError as slow:
        raise NotSent("no connection in time") from slow
    except aiohttp.InvalidURL as wrong:
        raise NotSent(f"not an address ({wrong})") from wrong
    except TimeoutError as slow:
        raise TimedOut("no answer in time") from slow
    except (aiohttp.ClientError, OSError, ValueError) as lost:
        if (cause := _rejection(lost)) is not None:
            # In TLS 1.3 a server judges a certificate when the client's part is over; it has read nothing behind it.
            raise NotSent(_tls_words(cause)) from lost
        raise Broken(_words(lost)) from lost


async def _bounded_body(answer: aiohttp.ClientResponse) -> bytes:
    announced = answer.content_length
    if announced is not None and announced <= limits.CLIENT_ANSWER_BYTES_MAX:
        return await answer.read()
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limits.CLIENT_ANSWER_BYTES_MAX:
            raise ValueError("the answer is longer than any answer of a node")
    return b"".join(parts)


def _rejection(error: BaseException | None) -> ssl.SSLError | None:
    """The alert by which the other side refused this side's certificate, if that is what lies below `error`."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and is_rejection(error):
            return error
        error = error.__cause__
    return None


def _distrust(error: Exception) -> str:
    return f"{_tls_words(error)}; name its CA with --cacert, KV_CACERT or Tls(cacert=...), or a host that it is for"


def _tls_words(error: BaseException) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"no TLS: {error}"
    words = f"no TLS: {sentence(error)}"
    if reason_of(error) == NOT_TLS:
        return words + "; is this a port for http://?"
    if reason_of(error) == REJECTED:
        return words + "; show one that is trusted there: --cert and --key, KV_CERT and KV_KEY, Tls(cert=, key=)"
    return words


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the other side closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended in the middle of the answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
