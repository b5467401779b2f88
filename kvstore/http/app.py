"""The HTTP server: listening, one dispatcher, graceful shutdown.

No router, no middleware, no access log. Bodies are never decompressed (bytes in, bytes out), and a client that goes
away cancels nothing. How requests come off the wire: `connections`.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from kvstore import limits
from kvstore.asking import ASKED, asked
from kvstore.errors import (
    AuthChanged,
    BadRequest,
    InternalError,
    KeyTooLong,
    KvError,
    MethodNotAllowed,
    Overloaded,
    RouteNotFound,
)
from kvstore.guard import Caller, Gate, GuardedStore
from kvstore.http import openapi, parse, reference, ui
from kvstore.http.answer import Answer, StreamAnswer
from kvstore.http.auditing import Auditor
from kvstore.http.bodies import Bodies
from kvstore.http.connections import Connections
from kvstore.http.kv import Door, stamp_line
from kvstore.http.problems import Refused, problem
from kvstore.http.report_files import Reports
from kvstore.http.routes import GIVEN, Route, by_path
from kvstore.http.store import NodeStore
from kvstore.http.waiting import Waiting
from kvstore.security.gate import Gate as TlsGate
from kvstore.security.keeper import Keeper
from kvstore.telemetry.audit import AuditLog
from kvstore.telemetry.metrics import HttpMeter, Metrics
from kvstore.telemetry.slow import SlowRequests

_log = structlog.get_logger("kvstore.http")

_REQUEST_ID: Final = "X-Request-Id"
_TRACEPARENT: Final = "traceparent"
_NOT_TLS: Final = "this port speaks TLS and nothing else: write https:// in place of http://"
_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})


class HttpServer:
    """Serves `store` at `listen`, a host and a port (0 for a free one); by TLS and nothing else, if there is `tls`.
    `reports_dir`: of the reports that the web page shows.
    """

    def __init__(
        self,
        store: NodeStore,
        metrics: Metrics,
        *,
        listen: tuple[str, int],
        gate: Gate | None = None,
        audit: AuditLog | None = None,
        tls: Keeper | None = None,
        slow: SlowRequests | None = None,
        reports_dir: str = "",
        per_address: int = limits.HTTP_CONNECTIONS_PER_ADDRESS_MAX,
        shutdown_s: float = limits.HTTP_SHUTDOWN_S_MAX,
        drain_s: float = limits.HTTP_DRAIN_S_MAX,
    ) -> None:
        ui.files()  # read now: no request waits for the disk
        self._store = store
        self._gate = gate or Gate(store)
        self._asks = self._gate.enabled
        store.on_auth_changed(self._auth_changed)
        self._auditor = None if audit is None else Auditor(audit)
        self._door = Door(
            store,
            metrics,
            Bodies(),
            openapi.encoded,
            reference.encoded,
            Waiting(),
            self._gate,
            Reports(reports_dir),
            audited=audit is not None,
        )
        self._slow = slow or SlowRequests()
        self._listen = listen
        self._tls = tls
        self._tls_gate: TlsGate | None = None
        self._per_address = per_address
        self._shutdown_s = shutdown_s
        self._drain_s = drain_s
        self._table = {
            path: {method: (route, metrics.http_meter(method, path, _kind(route))) for method, route in methods.items()}
            for path, methods in by_path().items()
        }
        # Those with something given in their path: a key, a name, an id.
        self._given = [(prefix, suffix, self._table.pop(path)) for prefix, suffix, path in GIVEN]
        self._strays: dict[str, HttpMeter] = {}
        # Ids that this server makes: unique across processes by the random part, within one by the count.
        self._id_stem = secrets.token_hex(6)
        self._id_count = itertools.count(1)
        self._closing = False
        self._listener: asyncio.Server | None = None
        self._connections: Connections | None = None
        metrics.watch("kv_http_connections", self._open_connections)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; the real port when 0 was asked for. Raises RuntimeError before start."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listens. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        connections = Connections(self, loop, self._per_address)
        accept: Callable[[], asyncio.BaseProtocol] = connections
        if self._tls is not None:
            accept = self._tls_gate = TlsGate("http", self._tls.doors, connections, self._tls.counts, self._not_tls)
        host, port = self._listen
        self._listener = await loop.create_server(accept, host, port, backlog=limits.HTTP_BACKLOG_CONNECTIONS)
        self._connections = connections

    async def close(self) -> None:
        """Stops listening, lets connections in use end with their next answer, then closes the rest.

        A connection that is cut while a request is on its way leaves its client not knowing whether it was received; so
        for `drain_s` every answer says `Connection: close`, and only what is idle by then is cut. Requests in progress
        have `shutdown_s` to be answered.
        """
        if self._listener is None or self._connections is None or self._closing:
            return
        self._closing = True
        self._listener.close()
        if self._tls_gate is not None:
            await self._tls_gate.close()
        self._store.end_watches()
        self._door.waiting.end()
        await self._connections.close(self._drain_s, self._shutdown_s)
        await self._listener.wait_closed()

    async def serve(self, request: web.BaseRequest) -> Answer:
        """Answers one request; every error becomes an answer."""
        started = time.perf_counter()
        method = request.method
        given_id = request.headers.get(_REQUEST_ID)
        request_id = (given_id and parse.request_id(given_id)) or f"{self._id_stem}-{next(self._id_count):x}"
        ASKED.set((request_id, request.headers.get(_TRACEPARENT)))
        path, query = parse.split_target(request.raw_path)
        methods, raw_key = self._methods(path)
        found = methods.get(method) if methods is not None else None
        if found is None:
            meter = self._stray(method)
            answer = _stray_answer(method, methods, request_id)
            self._finish(request, answer, request_id, ok=False)
        else:
            route, meter = found
            door = self._door
            try:
                if self._gate.enabled:
                    door = self._admitted(route, request)
                answer = await route.handler(door, request, raw_key, query)
                if door is self._door and (self._gate.enabled or type(answer) is StreamAnswer):
                    self._hold_back(route, answer)
                self._finish(request, answer, request_id, ok=True)
            except Exception as failed:
                answer = self._failed(failed, route, query, request_id)
                self._finish(request, answer, request_id, ok=False)
            if self._auditor is not None:
                who = door.caller or self._caller(request)
                self._auditor.answered(route, request, raw_key, query, answer, who, request_id)
        took_s = time.perf_counter() - started
        meter.done(answer.status, answer.level, took_s, answer.outcome)
        if took_s > self._slow.threshold_s:
            self._tell_slow(meter, answer, took_s)
        return answer

    def _tell_slow(self, meter: HttpMeter, answer: Answer, took_s: float) -> None:
        self._slow.note(
            "slow_request",
            took_s,
            method=meter.method,
            route=meter.route,
            at_level=answer.level or None,
            status=answer.status,
            **_told(),
        )

    def _admitted(self, route: Route, request: web.BaseRequest) -> Door:
        """What the handler may use for who sends `request`. Raises Unauthenticated, Forbidden."""
        gate, permission, plain = self._gate, route.permission, self._door
        if permission.of == "open" or (permission.of == "metrics" and not gate.metrics_private):
            return plain
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        transport = request.transport
        certificate = None if authorization is not None or transport is None else transport.get_extra_info("peercert")
        try:
            caller = gate.caller(authorization, certificate)
            permission.beforehand(gate.rights(caller))
        except KvError:
            gate.denied_total += 1
            raise
        store = GuardedStore(self._store, gate, caller)
        return Door(
            store,
            plain.metrics,
            plain.bodies,
            plain.described,
            plain.explained,
            plain.waiting,
            gate,
            plain.reports,
            caller,
            plain.audited,
        )

    def _hold_back(self, route: Route, answer: Answer) -> None:
        """What was begun while auth was not enabled here is not told to nobody once it is: this node may have been
        behind, and caught up for this very read. A write was carried out before, or refused (rule A3 of
        kvstore.state.auth), and may be told. Raises AuthChanged.
        """
        of = route.permission.of
        if of == "open" or (of == "metrics" and not self._gate.metrics_private):
            return
        if self._gate.enabled:
            if isinstance(answer, StreamAnswer):
                answer.abandon()
            if route.read:
                raise AuthChanged("auth is enabled now: say who you are", read=True)
            if route.permission.of == "each" or isinstance(answer, StreamAnswer):
                # It may hold what was read, beside what was written.
                raise AuthChanged("auth is enabled now, and what was done before is not told", outcome="unknown")
        elif isinstance(answer, StreamAnswer):
            answer.stopped = self._enabled

    def _enabled(self) -> bool:
        return self._gate.enabled

    def _auth_changed(self) -> None:
        """Watches that nobody was asked for end when everybody is."""
        if self._gate.enabled and not self._asks:
            self._store.end_watches()
        self._asks = self._gate.enabled

    def _caller(self, request: web.BaseRequest) -> Caller | None:
        """Who sent what was refused before it came to a handler, if that is known."""
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if not self._gate.enabled or authorization is None:
            return None
        try:
            return self._gate.caller(authorization)
        except KvError:
            return None

    def _methods(self, path: str) -> tuple[dict[str, tuple[Route, HttpMeter]] | None, str]:
        """What the path takes, and what is given in it; None for no such path."""
        whole = self._table.get(path)
        if whole is None:
            for prefix, suffix, methods in self._given:
                if path.startswith(prefix) and path.endswith(suffix):
                    return methods, path[len(prefix) : len(path) - len(suffix)]
        return whole, ""

    def malformed(self, request: web.BaseRequest, status: int, failed: BaseException | None) -> Answer:
        """The answer to what is not HTTP, or above a bound of the head; the connection ends with it."""
        request_id = f"{self._id_stem}-{next(self._id_count):x}"
        error: KvError
        if isinstance(failed, LineTooLong) and bytes(failed.args[0])[:1] == b"/":
            error = KeyTooLong(f"the request target is longer than {limits.HTTP_LINE_BYTES_MAX} bytes")
        elif status < 500:
            error = BadRequest(
                "the request is not well-formed HTTP, or its head is larger than allowed; "
                "in a path, everything beyond printable ASCII must be percent-encoded"
            )
        else:
            error = InternalError("the server failed")
            _log.error("http_failed", request_id=request_id, exc_info=failed)
        answer = problem(error, request_id=request_id, read=False, level=None)
        answer.request_id = request_id.encode()
        self._stray("OTHER").done(answer.status, "", 0.0)
        return answer

    def lost(self, connection: asyncio.BaseProtocol) -> None:
        """A client is gone."""
        self._door.waiting.lost(connection)

    def too_many_connections(self, of_one_address: int | None = None) -> bytes:
        """A whole answer for a connection beyond the bound, or beyond that of one address."""
        request_id = f"{self._id_stem}-{next(self._id_count):x}"
        there = f"{of_one_address or limits.HTTP_CONNECTIONS_MAX} connections"
        whose = "" if of_one_address is None else " of this address"
        error = Overloaded(f"{there}{whose} are open already", retry_after_s=1.0)
        answer = problem(error, request_id=request_id, read=False, level=None)
        answer.request_id = request_id.encode()
        self._stray("OTHER").done(answer.status, "", 0.0)
        return answer.head() + answer.body

    def _not_tls(self) -> bytes:
        """A whole answer for whoever speaks plain HTTP where TLS is spoken."""
        request_id = f"{self._id_stem}-{next(self._id_count):x}"
        answer = problem(BadRequest(_NOT_TLS), request_id=request_id, read=False, level=None)
        answer.request_id = request_id.encode()
        answer.keep_alive = False
        return answer.head(told=True) + answer.body

    def _finish(self, request: web.BaseRequest, answer: Answer, request_id: str, *, ok: bool) -> None:
        answer.request_id = request_id.encode()
        # After a refusal the rest of the body may still be on its way, and must not be taken for a request.
        answer.keep_alive = request.keep_alive and not self._closing and (ok or request.content.is_eof())

    def _failed(self, failed: Exception, route: Route, query: str, request_id: str) -> Answer:
        headers = b""
        if isinstance(failed, Refused):
            headers = failed.headers
            error = failed.error
        elif isinstance(failed, KvError):
            error = failed
        else:
            _log.error("request_failed", method=route.method, path=route.path, exc_info=failed, **_told())
            error = InternalError("the server failed; its log has more under this request id")
        level = None
        if route.levelled:
            level = parse.level_of(query)
            headers = headers or stamp_line(self._door.store.stamp())
        return problem(error, request_id=request_id, read=route.read, level=level, headers=headers)

    def _stray(self, method: str) -> HttpMeter:
        known = method if method in _KNOWN_METHODS else "OTHER"
        if known not in self._strays:
            self._strays[known] = self._door.metrics.http_meter(known, "other")
        return self._strays[known]

    def _open_connections(self) -> float:
        return len(self._connections) if self._connections is not None else 0


def _told() -> dict[str, str]:
    """Whose request this is, for the log."""
    found = asked()
    return {} if found is None else found.told()


def _kind(route: Route) -> str:
    if not route.levelled:
        return ""
    return "read" if route.read else "write"


def _stray_answer(method: str, methods: dict[str, Any] | None, request_id: str) -> Answer:
    read = method in ("GET", "HEAD", "OPTIONS")
    if methods is None:
        missing = RouteNotFound("no such path in this API")
        return problem(missing, request_id=request_id, read=read, level=None)
    allowed = ", ".join(sorted(methods))
    wrong = MethodNotAllowed(f"this path takes {allowed}")
    return problem(wrong, request_id=request_id, read=read, level=None, headers=b"Allow: %b\r\n" % allowed.encode())
