"""The composition root: one process, one node. Puts disk, journal, engine, network and doors together and takes them
apart.
"""

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from inspect import isawaitable
from typing import Any

import structlog
import uvloop

from kvstore import limits, measured
from kvstore.client import AsyncClient, Tls
from kvstore.clock import SystemClock
from kvstore.config import Address, ConfigError, ServerConfig
from kvstore.consensus.context import RaftSettings
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.disk_thread import DiskThread
from kvstore.consensus.engine import Peer
from kvstore.consensus.transport import PeerTransport
from kvstore.errors import KvError, LocalError
from kvstore.guard import Gate
from kvstore.http.app import HttpServer
from kvstore.node.alarms import ENCRYPTION_KEYS, Alarm
from kvstore.node.boot import Bootstrap, Identity, bootstrap_of, has_identity, open_directory
from kvstore.node.compaction import Offload
from kvstore.node.connections import Connections
from kvstore.node.directory_lock import hold
from kvstore.node.lookout import Lookout
from kvstore.node.scheduled_backups import Schedule, ScheduledBackups
from kvstore.node.service import Node
from kvstore.open_files import raise_limit
from kvstore.redis import RedisServer
from kvstore.security import jwt_tokens
from kvstore.security.certificates import ServerFiles
from kvstore.security.keeper import Keeper
from kvstore.security.key_file import KeyFile
from kvstore.security.peers import PeerTls
from kvstore.telemetry.audit import AuditLog
from kvstore.telemetry.logging import set_up as set_up_logging
from kvstore.telemetry.metrics import Metrics
from kvstore.telemetry.slow import OFF, SlowRequests
from kvstore.vault.envelope import NO_KEYS, Vault
from kvstore.vault.keeper import KeyKeeper, open_vault
from kvstore.vault.keys import KeySource

log = structlog.get_logger("kvstore.server")

EXIT_OK = 0
EXIT_CANNOT_LISTEN = 3
EXIT_INTERNAL = 8
HAND_OVER_S_MAX = 1.0
# How long the disk's thread waits for the interpreter when its fsync is done and the loop has work: 5 ms by default.
SWITCH_S = 0.0005
# Objects made before the collector looks at the young ones: requests die by themselves, and what stays is no garbage.
GC_NEW_OBJECTS = 20_000
JOIN_AGAIN_S = 0.5
MISSING_AFTER_S = 2.0
MISSING_EVERY_S = 10.0
OPEN_ADVICE = (
    "Other machines reach this node's doors, and whoever reaches them can read and change every key: give "
    "--tls-client-auth required, unless something else says who may do what."
)
MISSING_ADVICE = (
    "This directory is empty, so it votes only once all first members of a new cluster have been heard from. Start "
    "them; if the cluster is new and one cannot come, start a majority with --bootstrap-incomplete. If this member has "
    "lost its data, remove it, add it again, and start it with --join."
)


def run(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0, 3 (an address is taken), 7 (corrupt, in use), 8."""
    set_up_logging(level=config.log_level, format=config.log_format)
    if (files := raise_limit(limits.OPEN_FILES_WANTED)) < limits.OPEN_FILES_WANTED:
        log.warning("few_open_files", limit=files, wanted=limits.OPEN_FILES_WANTED, advice="raise the hard limit")
    try:
        os.makedirs(config.data_dir, mode=0o700, exist_ok=True)
        with hold(config.data_dir):
            return uvloop.run(_serve(config))
    except LocalError as error:
        log.error("cannot_start", error=str(error))
        return error.exit_code
    except (OSError, KvError) as error:
        log.error("cannot_start", error=str(error))
        return EXIT_CANNOT_LISTEN


async def _serve(config: ServerConfig) -> int:
    server = Server(config)
    try:
        await server.start()
        return await server.until_stopped()
    finally:
        await server.close()


class Server:
    """All parts of one node. Start once, close once; `close` also undoes a start that failed halfway."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closers: list[Callable[[], Any]] = []
        self._node: Node

    async def start(self) -> None:
        """Open the data directory, join the peers, listen. Raises CorruptData or OSError."""
        config, loop = self._config, asyncio.get_running_loop()
        rng = random.SystemRandom()
        tls = _keeper(config)
        source = KeySource(config.encryption_key_file, config.encryption_key_command)
        vault, keys_digest = await asyncio.to_thread(open_vault, source) if source else (NO_KEYS, b"")
        opened = open_directory(OsDisk(), config.data_dir, await _bootstrap(config), rng, vault=vault)
        metrics = Metrics()
        slow = SlowRequests(config.slow_request_ms / 1000 or OFF)
        metrics.watch("kv_slow_requests_total", lambda: slow.total)
        worker = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._closers.append(lambda: worker.shutdown(wait=False, cancel_futures=True))
        disk = DiskThread(loop)
        self._closers.append(disk.close)
        connections = Connections(
            loop=loop,
            name=config.name,
            own=dict(config.peers),
            listen=config.listen_peer,
            configuration=lambda: node.engine.configuration,
        )

        def offload(work: Callable[[], Any]) -> Awaitable[Any]:
            return loop.run_in_executor(worker, work)

        node = Node(
            opened=opened,
            settings=_raft_settings(config),
            clock=SystemClock(),
            rng=rng,
            loop=loop,
            offload=offload,
            beside=disk,
            slow=slow,
            synced=metrics.journal_sync_seconds.observe,
            intents_synced=metrics.intent_sync_seconds.observe,
            committed=metrics.commit_seconds.observe,
            on_members=connections.follow,
            on_failure=lambda _error: self._stop(EXIT_INTERNAL),
        )
        self._node = node
        self._closers.append(node.close)
        audit: AuditLog | None = None
        if config.audit_log:
            audit = AuditLog(config.audit_log, config.audit_kinds, config.name)
            self._closers.append(audit.close)
            measured.audit(metrics, audit)
        gate = _gate(config, node, audit)
        self._closers.append(gate.close)
        if tls is not None:
            measured.tls(metrics, tls)
            self._closers.append(tls.close)
            tls.start()
        http_at = (config.listen.host, config.listen.port)
        per_address = config.connections_per_address
        door = HttpServer(
            node,
            metrics,
            listen=http_at,
            tls=tls,
            gate=gate,
            audit=audit,
            slow=slow,
            reports_dir=config.ui_reports_dir,
            per_address=per_address,
        )
        await door.start()
        redis: RedisServer | None = None
        if config.listen_redis is not None:
            redis_at = (config.listen_redis.host, config.listen_redis.port)
            bound = min(per_address, limits.REDIS_CONNECTIONS_PER_ADDRESS_MAX)
            redis = RedisServer(node, metrics, listen=redis_at, tls=tls, gate=gate, per_address=bound)
        # The first to close: what they have taken in is still answered.
        self._closers.append(lambda: asyncio.gather(*(each.close() for each in (door, redis) if each is not None)))
        if redis is not None:
            await redis.start()
        # By the name that was given, not the address it has just now: certificates are for names, addresses change.
        http = f"{'http' if tls is None else 'https'}://{Address(config.listen.host, door.address[1])}"
        identity = opened.identity
        transport = PeerTransport(
            hello=Peer(identity.name, identity.identity, identity.incarnation, http, str(config.listen_peer)),
            cluster_id=identity.cluster_id,
            events=node,
            authorise=connections.authorise,
            stranger=connections.let_in,
            has_log=lambda: node.engine.has_log,
            tls=None if tls is None else PeerTls(tls),
        )
        measured.node(metrics, node, transport, identity.cluster_id)
        measured.disk(metrics, node, config)
        measured.guard(metrics, node, gate)
        node.start(transport, http)
        lookout = Lookout(node, loop)
        measured.lookout(metrics, lookout)
        lookout.start()
        self._closers.append(lookout.close)
        self._closers.insert(-1, transport.close)
        await connections.start(transport)
        self._closers.append(connections.close)
        reread = [] if tls is None else [tls.look_now]
        if source:
            keys = KeyKeeper(
                source, vault, keys_digest, node.renewal.in_use, node.renewal.rotated, partial(_told_of_keys, node)
            )
            keys.start()
            self._closers.append(keys.close)
            measured.keys(metrics, vault, keys, node)
            reread.append(keys.look_now)
        if config.backup_dir:
            scheduled = _scheduled_backups(config, node, identity, offload, vault)
            measured.backups(metrics, scheduled)
            scheduled.start()
            self._closers.append(scheduled.close)
        if node.waits_to_join:
            joining = loop.create_task(self._join(config))
            self._closers.append(joining.cancel)
        if node.engine.waits_for:
            founding = loop.create_task(self._say_who_is_missing())
            self._closers.append(founding.cancel)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, EXIT_OK)
        if reread:
            loop.add_signal_handler(signal.SIGHUP, lambda: [look() for look in reread])
        if tls is not None and config.open_to_all:
            log.warning("clients_need_no_certificate", advice=OPEN_ADVICE)
        sys.setswitchinterval(SWITCH_S)
        gc.set_threshold(GC_NEW_OBJECTS, *gc.get_threshold()[1:])
        gc.freeze()  # what has been loaded by now stays; the collector need not walk over it
        log.info(
            "serving",
            node=node.name,
            cluster_id=identity.cluster_id,
            http=str(Address(*door.address)),
            tls=tls is not None,
            redis=None if redis is None else str(Address(*redis.address)),
            applied_index=opened.machine.applied_index,
            keys=len(opened.machine),
        )

    async def _join(self, config: ServerConfig) -> None:
        """Ask who the members are until the log tells: they may change while nobody has let this node in yet."""
        while self._node.waits_to_join:
            await asyncio.sleep(JOIN_AGAIN_S)  # there is no event to wait for: others decide
            try:
                self._node.hear_of_members(await _bootstrap(config, joining=True))
            except (KvError, LocalError) as error:
                log.warning("join_waits", join=config.join, error=str(error))

    async def _say_who_is_missing(self) -> None:
        """Say now and then whom the first election of a new cluster waits for (consensus.founding)."""
        await asyncio.sleep(MISSING_AFTER_S)
        while missing := self._node.engine.waits_for:
            log.warning("first_election_waits", missing=list(missing), advice=MISSING_ADVICE)
            await asyncio.sleep(MISSING_EVERY_S)

    def _stop(self, code: int) -> None:
        if not self._stopped.done():
            self._stopped.set_result(code)

    async def until_stopped(self) -> int:
        """The exit code, once a signal or a failure asks for the end and leadership was given away if it could be."""
        code = await self._stopped
        if code == EXIT_OK:
            await self._node.hand_over(HAND_OVER_S_MAX)
        return code

    async def close(self) -> None:
        """Stop in the reverse order of starting."""
        while self._closers:
            done = self._closers.pop()()
            if isawaitable(done):
                await done


async def _bootstrap(config: ServerConfig, *, joining: bool = False) -> Bootstrap:
    """What a new directory is to become; a node that joins asks a member for the cluster's id and members."""
    alone = bootstrap_of(config)
    if not config.join or (has_identity(OsDisk(), config.data_dir) and not joining):
        return alone
    token: str | None = None
    if config.join_token_file:
        with open(config.join_token_file, encoding="utf-8") as file:
            token = file.readline(limits.TOKEN_CHARS_MAX).strip()
    tls = Tls(config.tls_ca, config.tls_cert, config.tls_key, config.tls_version_min) if config.tls else None
    async with AsyncClient([config.join], tls=tls, token=token) as client:
        view = await client.cluster()
    others = {member.name: member.peer for member in view.members if member.name != config.name}
    return alone._replace(members=alone.members | others, joins=view.cluster_id)


def _gate(config: ServerConfig, node: Node, audit: AuditLog | None) -> Gate:
    """Who knows callers. Raises LocalError for keys that cannot be used."""
    if config.jwt_keys and not jwt_tokens.installed():
        raise ConfigError("jwt_keys: PyJWT is not installed; pip install 'kvstore[auth]'")
    clock = SystemClock()
    return Gate(
        node,
        keys=KeyFile(config.jwt_keys, clock.monotonic) if config.jwt_keys else None,
        audience=config.jwt_audience,
        token_s=config.token_seconds,
        metrics_private=config.metrics_private,
        clock=clock,
        audit=audit,
    )


def _keeper(config: ServerConfig) -> Keeper | None:
    """The certificates of this node, if it has some. Raises BadCertificates."""
    if not config.tls:
        return None
    files = ServerFiles(
        config.tls_cert,
        config.tls_key,
        config.tls_ca,
        config.tls_client_ca,
        config.tls_client_auth,
        config.tls_version_min,
    )
    return Keeper(files, config.name)


def _raft_settings(config: ServerConfig) -> RaftSettings:
    return RaftSettings(
        heartbeat_s=config.heartbeat_ms / 1000,
        election_s_min=config.election_ms_min / 1000,
        election_s_max=config.election_ms_max / 1000,
        snapshot_log_bytes=config.snapshot_log_bytes,
        log_keep_bytes=config.log_keep_bytes,
        bootstrap_incomplete=config.bootstrap_incomplete,
    )


def _scheduled_backups(
    config: ServerConfig, node: Node, identity: Identity, offload: Offload, vault: Vault
) -> ScheduledBackups:
    return ScheduledBackups(
        loop=asyncio.get_running_loop(),
        disk=OsDisk(),
        schedule=Schedule(config.backup_dir, config.backup_every_s, config.backup_keep),
        cluster_id=identity.cluster_id,
        node=identity.name,
        backups=node.backups,
        alarms=node.alarms,
        offload=offload,
        wall_ms=SystemClock().wall_ms,
        vault=vault,
    )


def _told_of_keys(node: Node, problem: str | None) -> None:
    if problem is None:
        node.alarms.clear(ENCRYPTION_KEYS, node.name)
    else:
        node.alarms.set(Alarm(ENCRYPTION_KEYS, node.name, problem))
