"""What a server publishes about its parts: which of their numbers is which metric (`kvstore.telemetry.catalogue`). They
are read only when somebody asks for metrics.
"""

import os
from collections.abc import Callable

import kvstore
from kvstore.config import ServerConfig
from kvstore.consensus.configuration import majority
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.transport import PeerTransport
from kvstore.guard import Gate
from kvstore.model.features import LEVEL
from kvstore.node.lookout import Lookout
from kvstore.node.scheduled_backups import ScheduledBackups
from kvstore.node.service import Node
from kvstore.security.keeper import Keeper
from kvstore.telemetry.audit import AuditLog
from kvstore.telemetry.metrics import Metrics, Value
from kvstore.vault.envelope import Vault
from kvstore.vault.keeper import KeyKeeper


def node(metrics: Metrics, node: Node, transport: PeerTransport, cluster_id: str) -> None:
    """Consensus, the store, and what waits."""
    engine, reads, stats, trace = node.engine, node.reads, transport.stats, node.trace
    info: dict[tuple[str, ...], float] = {(node.name, cluster_id, kvstore.__version__, str(LEVEL)): 1.0}
    table: tuple[tuple[str, Callable[[], Value]], ...] = (
        ("kv_node_info", lambda: info),
        ("kv_alarms", node.alarms.counts),
        ("kv_raft_term", lambda: engine.term),
        ("kv_raft_is_leader", lambda: int(engine.leads)),
        ("kv_raft_has_leader", lambda: int(engine.leader is not None)),
        ("kv_raft_voters", lambda: len(engine.configuration.voters)),
        ("kv_raft_quorum_margin", lambda: _margin(node)),
        ("kv_raft_member_reachable", lambda: _reachable(node)),
        ("kv_raft_member_lag_entries", lambda: _lag(node)),
        ("kv_raft_commit_index", lambda: engine.status().commit_index),
        ("kv_raft_applied_index", lambda: engine.applied_index),
        ("kv_raft_last_index", lambda: engine.status().last_index),
        ("kv_raft_leader_changes_total", lambda: engine.leader_changes_total),
        ("kv_raft_elections_total", lambda: trace.counts["election"]),
        ("kv_raft_elections_won_total", lambda: trace.counts["leads"]),
        ("kv_raft_step_downs_total", lambda: {reason: float(count) for reason, count in trace.reasons.items()}),
        ("kv_raft_votes_granted_total", lambda: trace.counts["vote_granted"]),
        ("kv_raft_dropped_messages_total", lambda: engine.dropped_total),
        ("kv_raft_read_rounds_total", lambda: engine.reads_served()[0]),
        ("kv_raft_reads_total", lambda: engine.reads_served()[1]),
        ("kv_read_index_questions_total", lambda: reads.questions_total),
        ("kv_read_index_forwarded_total", lambda: reads.forwarded_total),
        ("kv_clock_offset_seconds", lambda: _offsets(node)),
        ("kv_staleness_seconds", engine.staleness_s),
        ("kv_store_revision", lambda: node.machine.revision),
        ("kv_store_keys", lambda: len(node.machine)),
        ("kv_store_compacted_revision", lambda: node.machine.compacted),
        ("kv_leases", lambda: len(node.machine.leases)),
        ("kv_leases_expired_total", lambda: node.leases.expired_total),
        ("kv_watches", lambda: len(node.watches)),
        ("kv_watch_queue_changes", lambda: node.watches.waiting()[0]),
        ("kv_watch_lag_revisions", lambda: node.watches.waiting()[1]),
        ("kv_watches_lagged_total", lambda: node.watches.lagged_total),
        ("kv_sessions_open", lambda: node.machine.sessions_open),
        ("kv_answers_kept", lambda: node.machine.answers_kept),
        ("kv_intents_pending", lambda: node.intents_pending),
        ("kv_intents_oldest_seconds", lambda: node.intents_oldest_s),
        ("kv_intent_batches_total", lambda: node.forwarder.batches_total),
        ("kv_writes_pending", lambda: node.writes_pending[0]),
        ("kv_writes_pending_bytes", lambda: node.writes_pending[1]),
        ("kv_proposals_waiting", lambda: node.proposals_waiting),
        ("kv_reads_pending", lambda: node.reads_pending),
        ("kv_peer_calls_pending", lambda: node.calls_pending),
        ("kv_peer_bad_frames_total", lambda: stats.bad_frames),
        ("kv_peer_truncated_frames_total", lambda: stats.truncated_frames),
        ("kv_peer_refused_handshakes_total", lambda: stats.handshakes_refused),
        ("kv_peer_late_handshakes_total", lambda: stats.handshakes_late),
        ("kv_peer_reconnects_total", lambda: stats.reconnects),
    )
    for name, read in table:
        metrics.watch(name, read)


def lookout(metrics: Metrics, lookout: Lookout) -> None:
    """What is looked at now and then."""
    metrics.watch("kv_raft_commit_stalled_seconds", lambda: lookout.stalled_s)


def disk(metrics: Metrics, node: Node, config: ServerConfig) -> None:
    """Journal, snapshots, and the room for them."""

    def size() -> float:
        found = os.statvfs(config.data_dir)
        return float(found.f_frsize * found.f_blocks)

    for name, read in (
        ("kv_journal_bytes", lambda: node.journal_bytes),
        ("kv_journal_since_snapshot_bytes", lambda: node.compaction.uncovered_bytes),
        ("kv_snapshot_log_limit_bytes", lambda: config.snapshot_log_bytes),
        ("kv_disk_free_bytes", lambda: OsDisk().free_bytes(config.data_dir)),
        ("kv_disk_size_bytes", size),
        ("kv_storage_full", lambda: int(node.engine.full)),
        ("kv_snapshots_taken_total", lambda: node.compaction.taken_total),
        ("kv_snapshot_failures_total", lambda: node.compaction.failed_total),
        ("kv_snapshots_sent_total", lambda: node.trace.counts["snapshot_sent"]),
        ("kv_snapshots_installed_total", lambda: node.compaction.installed_total),
    ):
        metrics.watch(name, read)


def guard(metrics: Metrics, node: Node, gate: Gate) -> None:
    """Who was let in."""
    metrics.watch("kv_auth_enabled", lambda: int(gate.enabled))
    metrics.watch("kv_auth_revision", lambda: node.machine.auth.revision)
    metrics.watch("kv_auth_refused_total", lambda: gate.denied_total)


def audit(metrics: Metrics, audit: AuditLog) -> None:
    """The audit log."""
    metrics.watch("kv_audit_entries_total", lambda: audit.written_total)
    metrics.watch("kv_audit_lost_total", lambda: audit.lost_total)


def tls(metrics: Metrics, tls: Keeper) -> None:
    """Handshakes and certificates."""
    counts = tls.counts
    metrics.watch("kv_tls_handshakes_total", lambda: counts.handshakes)
    metrics.watch("kv_tls_refused_total", lambda: counts.refused)
    metrics.watch("kv_tls_reloads_total", lambda: counts.reloads)
    metrics.watch("kv_tls_handshakes_pending", lambda: counts.pending)
    metrics.watch("kv_tls_certificate_expires_seconds", lambda: tls.contexts.expires_s)


def keys(metrics: Metrics, vault: Vault, keys: KeyKeeper, node: Node) -> None:
    """Encryption at rest."""
    metrics.watch("kv_encryption_key_active", lambda: vault.active)
    metrics.watch(
        "kv_encryption_files",
        lambda: {str(number): node.renewal.in_use().get(number, 0) for number in (0, *vault.numbers)},
    )
    metrics.watch("kv_encryption_reloads_total", lambda: keys.reloads)


def backups(metrics: Metrics, scheduled: ScheduledBackups) -> None:
    """Scheduled backups."""
    metrics.watch("kv_backups_total", lambda: scheduled.made_total)
    metrics.watch("kv_backup_failures_total", lambda: scheduled.failed_total)
    metrics.watch("kv_backup_last_seconds", lambda: scheduled.last_s)


def _margin(node: Node) -> int:
    voters = node.engine.configuration.voters
    return len(voters) - len(node.unreachable()) - majority(len(voters))


def _reachable(node: Node) -> dict[str, float]:
    away = set(node.unreachable())
    return {
        member.name: float(
            member.name == node.name or (member.name not in away and node.engine.peer(member.name) is not None)
        )
        for member in node.engine.configuration.members
    }


def _lag(node: Node) -> dict[str, float]:
    status = node.engine.status()
    return {name: float(max(0, status.last_index - match)) for name, match in status.match.items()}


def _offsets(node: Node) -> dict[str, float]:
    return {name: ms / 1_000 for name, ms in node.clock_watch.offsets_ms.items()} if node.engine.leads else {}
