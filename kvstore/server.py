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

from kvstore import limits
from kvstore.client import AsyncClient, Tls
from kvstore.clock import SystemClock
from kvstore.config import ConfigError, ServerConfig
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
            synced=metrics.journal_sync_seconds.observe,
            on_members=connections.follow,
            on_failure=lambda _error: self._stop(EXIT_INTERNAL),
        )
        self._node = node
        self._closers.append(node.close)
        audit: AuditLog | None = None
        if config.audit_log:
            audit = AuditLog(config.audit_log, config.audit_kinds, config.name)
            self._closers.append(audit.close)
            _watch_audit(metrics, audit)
        gate = _gate(config, node, audit)
        self._closers.append(gate.close)
        if tls is not None:
            _watch_tls(metrics, tls)
            self._closers.append(tls.close)
            tls.start()
        http_at = (config.listen.host, config.listen.port)
        door = HttpServer(node, metrics, listen=http_at, tls=tls, gate=gate, audit=audit)
        await door.start()
        redis: RedisServer | None = None
        if config.listen_redis is not None:
            redis_at = (config.listen_redis.host, config.listen_redis.port)
            redis = RedisServer(node, metrics, listen=redis_at, tls=tls, gate=gate)
        # The first to close: what they have taken in is still answered.
        self._closers.append(lambda: asyncio.gather(*(each.close() for each in (door, redis) if each is not None)))
        if redis is not None:
            await redis.start()
        host, port = door.address
        http = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
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
        _watch(metrics, node, transport)
        _watch_gate(metrics, node, gate)
        node.start(transport, http)
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
            _watch_keys(metrics, vault, keys, node)
            reread.append(keys.look_now)
        if config.backup_dir:
            scheduled = _scheduled_backups(config, node, identity, offload, vault)
            _watch_backups(metrics, scheduled)
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
            http=f"{host}:{port}",
            tls=tls is not None,
            redis=None if redis is None else "{}:{}".format(*redis.address),
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


def _watch_audit(metrics: Metrics, audit: AuditLog) -> None:
    metrics.watch("kv_audit_entries", "Entries of the audit log.", lambda: audit.written_total, kind="counter")
    metrics.watch("kv_audit_lost", "Entries that had no room, or no disk.", lambda: audit.lost_total, kind="counter")


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


def _watch_gate(metrics: Metrics, node: Node, gate: Gate) -> None:
    metrics.watch("kv_auth_enabled", "1 while auth is enabled.", lambda: int(gate.enabled))
    metrics.watch("kv_auth_revision", "How often users or roles have changed.", lambda: node.machine.auth.revision)
    metrics.watch(
        "kv_auth_refused", "Requests that were refused: 401 and 403.", lambda: gate.denied_total, kind="counter"
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


def _watch_keys(metrics: Metrics, vault: Vault, keys: KeyKeeper, node: Node) -> None:
    metrics.watch("kv_encryption_key_active", "Number of the key for new files; 0: in clear.", lambda: vault.active)
    metrics.watch(
        "kv_encryption_files",
        "Files of this node by the number of their key; 0: in clear.",
        lambda: {str(number): node.renewal.in_use().get(number, 0) for number in (0, *vault.numbers)},
        label="key",
    )
    metrics.watch(
        "kv_encryption_reloads", "Keys read anew after a change.", lambda: keys.reloads, kind="counter", label="outcome"
    )


def _watch_backups(metrics: Metrics, scheduled: ScheduledBackups) -> None:
    metrics.watch("kv_backups", "Scheduled backups made.", lambda: scheduled.made_total, kind="counter")
    metrics.watch(
        "kv_backup_failures", "Scheduled backups that failed.", lambda: scheduled.failed_total, kind="counter"
    )
    metrics.watch("kv_backup_last_seconds", "Time of the last one, since 1970.", lambda: scheduled.last_s)


def _watch_tls(metrics: Metrics, tls: Keeper) -> None:
    counts = tls.counts
    for name, text, read, label in (
        ("kv_tls_handshakes", "TLS handshakes done.", lambda: counts.handshakes, ("door",)),
        ("kv_tls_refused", "TLS connections refused.", lambda: counts.refused, ("door", "reason")),
        ("kv_tls_reloads", "Certificates read anew after a change.", lambda: counts.reloads, ("outcome",)),
    ):
        metrics.watch(name, text, read, kind="counter", label=label)
    metrics.watch("kv_tls_handshakes_pending", "TLS handshakes under way.", lambda: counts.pending, label="door")
    metrics.watch(
        "kv_tls_certificate_expires_seconds",
        "When this node's certificate ends, since 1970.",
        lambda: tls.contexts.expires_s,
    )


def _watch(metrics: Metrics, node: Node, transport: PeerTransport) -> None:
    """Publish what the parts count by themselves; read only when metrics are asked for."""
    engine, reads, stats = node.engine, node.reads, transport.stats
    for name, text, read in (
        ("kv_raft_term", "Current term.", lambda: engine.term),
        ("kv_raft_is_leader", "1 while this node leads.", lambda: int(engine.leads)),
        ("kv_raft_commit_index", "Highest log index known to be committed.", lambda: engine.status().commit_index),
        ("kv_raft_applied_index", "Highest log index applied.", lambda: engine.applied_index),
        ("kv_raft_last_index", "Last log index.", lambda: engine.status().last_index),
        ("kv_store_revision", "Revision of the store.", lambda: node.machine.revision),
        ("kv_store_keys", "Keys in the store.", lambda: len(node.machine)),
        ("kv_store_compacted_revision", "Revision below which history is forgotten.", lambda: node.machine.compacted),
        ("kv_leases", "Leases.", lambda: len(node.machine.leases)),
        ("kv_watches", "Watches open on this node.", lambda: len(node.watches)),
        ("kv_sessions_open", "Sessions of clients.", lambda: node.machine.sessions_open),
        ("kv_answers_kept", "Answers kept for repetitions of writes.", lambda: node.machine.answers_kept),
        ("kv_intents_pending", "Level ONE writes of this node that it has not applied.", lambda: node.intents_pending),
        ("kv_writes_pending", "Writes that wait here for their level.", lambda: node.writes_pending[0]),
        ("kv_writes_pending_bytes", "Bytes of those writes.", lambda: node.writes_pending[1]),
        ("kv_reads_pending", "Reads that wait here until the state is fresh enough.", lambda: node.reads_pending),
        ("kv_staleness_seconds", "Age of what this node has applied; +Inf while unknown.", engine.staleness_s),
    ):
        metrics.watch(name, text, read)
    metrics.watch("kv_alarms", "Alarms that this node has raised.", node.alarms.counts, label="code")
    for name, text, read in (
        ("kv_raft_leader_changes", "Times that a new leader became known.", lambda: engine.leader_changes_total),
        ("kv_raft_dropped_messages", "Messages that a safety rule refused.", lambda: engine.dropped_total),
        ("kv_raft_read_rounds", "ReadIndex rounds begun as leader.", lambda: engine.reads_served()[0]),
        ("kv_raft_reads", "Reads that those rounds confirmed.", lambda: engine.reads_served()[1]),
        ("kv_read_index_questions", "Times that this follower asked for a read index.", lambda: reads.questions_total),
        ("kv_read_index_forwarded", "Reads that those questions served.", lambda: reads.forwarded_total),
        ("kv_snapshots_taken", "Snapshots taken of this node's own state.", lambda: node.compaction.taken_total),
        ("kv_snapshots_installed", "Snapshots of a leader installed.", lambda: node.compaction.installed_total),
        ("kv_intent_batches", "Batches of level ONE writes sent on.", lambda: node.forwarder.batches_total),
        ("kv_leases_expired", "Leases that this node let expire as leader.", lambda: node.leases.expired_total),
        ("kv_watches_lagged", "Watches that ended because their reader was slow.", lambda: node.watches.lagged_total),
        ("kv_peer_bad_frames", "Frames from peers that could not be read.", lambda: stats.bad_frames),
        ("kv_peer_truncated_frames", "Connections of peers that ended within a frame.", lambda: stats.truncated_frames),
        ("kv_peer_refused_handshakes", "Handshakes refused.", lambda: stats.handshakes_refused),
        ("kv_peer_late_handshakes", "Handshakes that took too long.", lambda: stats.handshakes_late),
        ("kv_peer_reconnects", "Connections to peers made again.", lambda: stats.reconnects),
    ):
        metrics.watch(name, text, read, kind="counter")
