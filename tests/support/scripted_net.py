"""A transport that answers by script, on virtual time: for tests of when the client sends what again, and where."""

import asyncio
import json
from collections.abc import Callable

from kvstore.client.client import AsyncClient
from kvstore.client.retry import Pacing
from kvstore.client.wire import AttemptFailed, Reply, Request, TimedOut
from kvstore.errors import KvError

A, B, C = "http://a:1", "http://b:1", "http://c:1"

WRITTEN = Reply(
    200,
    {"Content-Type": "application/json"},
    b'{"key":"k","revision":7,"version":2,"level":"quorum","required":2,"acked":2,"outcome":"committed","receipt":null}',
)
PENDING = Reply(
    202,
    {"Content-Type": "application/json"},
    b'{"key":"k","revision":null,"version":null,"level":"one","required":1,"acked":1,"outcome":"pending",'
    b'"receipt":"n1.e1.1"}',
)
RECORD = Reply(
    200,
    {"Content-Type": "application/json"},
    b'{"key":"k","value_base64":"dg==","create_revision":1,"mod_revision":7,"version":2,"lease":0,"stamp":"5.0.n.1.0"}',
)

Step = Reply | AttemptFailed
Script = Callable[[str, int], Step]


def problem(error: KvError, retry_after: str | None = None) -> Reply:
    """The answer that tells `error`."""
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Reply(error.status, headers, json.dumps(error.to_problem()).encode())


class ScriptedNet:
    """Answers each attempt by `script(endpoint, number)`; a silence takes as much virtual time as was granted.

    Sessions are opened (numbered from 1) and closed without the script, unless `opening` says how that goes.
    """

    def __init__(self, script: Script, opening: Script | None = None) -> None:
        self.script = script
        self.opening = opening
        self.clock_s = 0.0
        self.attempts: list[tuple[str, Request]] = []
        self.granted: list[tuple[float, float]] = []
        self.openings = 0
        self.opened = 0
        self.closed: list[str] = []
        self.pauses: list[float] = []

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        await asyncio.sleep(0)
        if request.path == "/v1/sessions":
            self.openings += 1
            step = self.opening(endpoint, self.openings) if self.opening else self._new_session()
        elif request.path.startswith("/v1/sessions/"):
            self.closed.append(request.path)
            step = Reply(200, {"Content-Type": "application/json"}, b'{"session":1}')
        else:
            self.attempts.append((endpoint, request))
            self.granted.append((total_s, idle_s))
            step = self.script(endpoint, len(self.attempts))
        if isinstance(step, TimedOut):
            self.clock_s += min(total_s, idle_s)
        if isinstance(step, AttemptFailed):
            raise step
        return step

    def _new_session(self) -> Reply:
        self.opened += 1
        return Reply(201, {"Content-Type": "application/json"}, b'{"session":%d}' % self.opened)

    async def close(self) -> None:
        pass

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock_s += seconds
        await asyncio.sleep(0)

    @property
    def visited(self) -> list[str]:
        return [endpoint for endpoint, _ in self.attempts]

    def headers(self, name: str) -> list[str | None]:
        """What each attempt said in that header."""
        return [request.headers.get(name) for _, request in self.attempts]


def client(net: ScriptedNet, *endpoints: str, timeout_s: float = 5.0, sessions: bool = True) -> AsyncClient:
    """A client on `net`, whose pauses are as long as they may be."""
    pacing = Pacing(now=lambda: net.clock_s, sleep=net.sleep, uniform=lambda low, high: high)
    return AsyncClient(endpoints or (A, B, C), timeout_s=timeout_s, sessions=sessions, transport=net, pacing=pacing)


def by_endpoint(**steps: Step) -> Script:
    """The same step at every attempt of an endpoint: a=..., b=..., c=..."""
    return lambda endpoint, number: steps[endpoint.removeprefix("http://").removesuffix(":1")]
