"""The client's HTTP over aiohttp. No other file uses aiohttp's client.

Three of its habits are switched off. It sends PUT and DELETE again by itself when a kept connection turns out to be
closed, as if they were harmless to repeat; a conditional write that took effect would then report a failed condition.
It tidies paths, follows redirects, unpacks bodies and keeps cookies, which a store of arbitrary bytes must not. And its
timer for a whole request takes a cancellation that comes with the timeout for its own, so that a task goes on although
it was cancelled; asyncio's timer tells the two apart.
"""

import asyncio
import os

import aiohttp
from yarl import URL

from kvstore import limits
from kvstore.client.wire import Broken, NotSent, Reply, Request, TimedOut


class HttpTransport:
    """A pool of connections. It opens with the first request and belongs to that event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        """See Transport.send. A connection is tried for at most `CONNECT_S_MAX`."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(limits.CONNECT_S_MAX, idle_s), sock_read=idle_s, ceil_threshold=3600
        )
        address = f"{endpoint}{request.path}?{request.query}" if request.query else endpoint + request.path
        try:
            async with (
                asyncio.timeout(total_s),
                self._open().request(
                    request.method,
                    URL(address, encoded=True),
                    headers=request.headers,
                    data=request.body,
                    timeout=timeout,
                    allow_redirects=False,
                ) as answer,
            ):
                return Reply(answer.status, answer.headers, await _bounded_body(answer))
        except aiohttp.ClientConnectorError as refused:
            raise NotSent(_words(refused.os_error)) from refused
        except aiohttp.ConnectionTimeoutError as slow:
            raise NotSent("no connection in time") from slow
        except aiohttp.InvalidURL as wrong:
            raise NotSent(f"not an address ({wrong})") from wrong
        except TimeoutError as slow:
            raise TimedOut("no answer in time") from slow
        except (aiohttp.ClientError, OSError, ValueError) as lost:
            raise Broken(_words(lost)) from lost

    async def close(self) -> None:
        """Ends every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.CLIENT_CONNECTIONS_MAX, use_dns_cache=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            )
            # There is no public switch for this; a test sends a PUT into a closing connection and counts arrivals.
            session._retry_connection = False
            self._session = session
        return self._session


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


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the other side closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended in the middle of the answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
