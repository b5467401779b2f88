"""The table of metrics: every one that a node exports, with what it means. What has no row cannot be published
(`Metrics.watch`), and `docs/metrics.md` is made from it.

Names follow the conventions of Prometheus: the unit in the name, counters end in `_total`, and no label takes values
from clients: routes, levels, outcomes, codes and members of the cluster are few.
"""

from typing import Final, Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]


class Row(NamedTuple):
    """One metric. `name` as it is exported, a counter's with `_total`; `unit` of its value, "" for a plain number."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    meaning: str


def _gauge(name: str, meaning: str, *labels: str, unit: str = "") -> Row:
    return Row(name, "gauge", labels, unit, meaning)


def _counter(name: str, meaning: str, *labels: str, unit: str = "") -> Row:
    return Row(name, "counter", labels, unit, meaning)


def _histogram(name: str, meaning: str, *labels: str) -> Row:
    return Row(name, "histogram", labels, "seconds", meaning)


GROUPS: Final[tuple[tuple[str, tuple[Row, ...]], ...]] = (
    (
        "The node",
        (
            _gauge(
                "kv_node_info",
                "1; its labels say which node this is, of which cluster, which version, and what it knows.",
                "node",
                "cluster_id",
                "version",
                "features",
            ),
            _gauge(
                "kv_alarms", "Alarms that this node has raised: divergence, clock_drift, backup_failed, ...", "code"
            ),
        ),
    ),
    (
        "Requests",
        (
            _counter("kv_http_requests_total", "HTTP requests answered.", "method", "route", "status"),
            _histogram(
                "kv_http_request_seconds",
                "From the head of a request to its answer being ready to send.",
                "method",
                "route",
                "level",
            ),
            _histogram(
                "kv_request_seconds",
                "The same of requests that take a level, by `kind` (read, write) and outcome: ok, pending (level ONE, "
                "acknowledged), absent (a read), not_applied, unknown, committed (but not at its level), failed (a "
                "read).",
                "kind",
                "level",
                "outcome",
            ),
            _counter(
                "request_count_total",
                "HTTP requests answered, by part of the API, whoever names them so.",
                "service",
                "method",
                "status",
            ),
            _histogram(
                "request_duration_seconds",
                "How long they took, by the same labels. A stream counts until it begins.",
                "service",
                "method",
                "status",
            ),
            _counter(
                "kv_slow_requests_total",
                "Requests that took longer than `slow_request_ms`; the log has the slowest of each second.",
            ),
            _gauge("kv_http_connections", "Open HTTP connections."),
            _gauge("kv_redis_connections", "Open connections of the Redis door."),
            _counter("kv_redis_commands_total", "Commands of the Redis door answered.", "command", "outcome"),
            _histogram(
                "kv_redis_wait_seconds",
                "How long what the Redis door took to the node together, reads or writes, waited there.",
                "kind",
                "level",
            ),
        ),
    ),
    (
        "Queues",
        (
            _gauge("kv_writes_pending", "Writes that wait here for their level."),
            _gauge("kv_writes_pending_bytes", "Size of those writes.", unit="bytes"),
            _gauge("kv_proposals_waiting", "Writes that wait on the leader for the next log entry."),
            _gauge("kv_reads_pending", "Reads that wait here until the state is fresh enough."),
            _gauge("kv_peer_calls_pending", "Requests of other nodes that are being answered here."),
            _gauge("kv_intents_pending", "Level ONE writes of this node that it has not applied."),
            _gauge("kv_intents_oldest_seconds", "Age of the oldest of them; 0 without any.", unit="seconds"),
            _counter("kv_intent_batches_total", "Batches of level ONE writes sent on."),
        ),
    ),
    (
        "Raft",
        (
            _gauge("kv_raft_term", "Current term."),
            _gauge("kv_raft_is_leader", "1 while this node leads."),
            _gauge("kv_raft_has_leader", "1 while this node knows of a leader."),
            _gauge("kv_raft_voters", "Voters of the configuration in effect."),
            _gauge(
                "kv_raft_quorum_margin",
                "How many more voters may fail, as this node sees it: those that it reaches, less a majority; "
                "below 0 there is none.",
            ),
            _gauge("kv_raft_member_reachable", "1 while this node reaches that member.", "member"),
            _gauge(
                "kv_raft_member_lag_entries",
                "Entries of the leader's log that the member is not known to hold; on the leader only.",
                "member",
                unit="entries",
            ),
            _gauge("kv_raft_commit_index", "Highest log index known to be committed."),
            _gauge("kv_raft_applied_index", "Highest log index applied."),
            _gauge("kv_raft_last_index", "Last log index."),
            _gauge(
                "kv_raft_commit_stalled_seconds",
                "On the leader: for how long entries have been waiting while none was committed; 0 if none waits.",
                unit="seconds",
            ),
            _histogram(
                "kv_commit_seconds", "From a write's turn on the leader (a log entry's) to its being applied there."
            ),
            _gauge("kv_staleness_seconds", "Age of what this node has applied; +Inf while unknown.", unit="seconds"),
            _counter("kv_raft_leader_changes_total", "Times that a new leader became known."),
            _counter("kv_raft_elections_total", "Elections that this node began."),
            _counter("kv_raft_elections_won_total", "Elections that it won."),
            _counter(
                "kv_raft_step_downs_total",
                "Leaderships that ended: higher_term, no_majority, handed_over, no_room, stopped.",
                "reason",
            ),
            _counter("kv_raft_votes_granted_total", "Votes given to others."),
            _counter("kv_raft_dropped_messages_total", "Messages that a safety rule refused."),
            _counter("kv_raft_read_rounds_total", "ReadIndex rounds begun as leader."),
            _counter("kv_raft_reads_total", "Reads that those rounds confirmed."),
            _counter("kv_read_index_questions_total", "Times that this follower asked for a read index."),
            _counter("kv_read_index_forwarded_total", "Reads that those questions served."),
            _gauge(
                "kv_clock_offset_seconds",
                "On the leader: by how much the wall clock of a voter is ahead of its own.",
                "member",
                unit="seconds",
            ),
        ),
    ),
    (
        "Disk",
        (
            _histogram("kv_journal_sync_seconds", "One sync of the journal."),
            _histogram("kv_intent_sync_seconds", "One sync of the journal of level ONE writes."),
            _gauge("kv_journal_bytes", "Size of the journal's segments.", unit="bytes"),
            _gauge("kv_journal_since_snapshot_bytes", "Log that the newest snapshot does not cover.", unit="bytes"),
            _gauge(
                "kv_snapshot_log_limit_bytes",
                "So much log, and a snapshot is due (`snapshot_log_bytes`).",
                unit="bytes",
            ),
            _gauge("kv_disk_free_bytes", "Room that is left for this node where its data is.", unit="bytes"),
            _gauge("kv_disk_size_bytes", "Size of that file system.", unit="bytes"),
            _gauge("kv_storage_full", "1 while this node has no room for new entries."),
            _counter("kv_snapshots_taken_total", "Snapshots taken of this node's own state."),
            _counter("kv_snapshot_failures_total", "Snapshots of its own that could not be written."),
            _counter("kv_snapshots_sent_total", "Snapshots sent whole to another member."),
            _counter("kv_snapshots_installed_total", "Snapshots of a leader installed."),
            _counter("kv_backups_total", "Scheduled backups made."),
            _counter("kv_backup_failures_total", "Scheduled backups that failed."),
            _gauge("kv_backup_last_seconds", "When the last one was made, since 1970.", unit="seconds"),
            _gauge("kv_encryption_key_active", "Number of the key for new files; 0: in clear."),
            _gauge("kv_encryption_files", "Files of this node by the number of their key; 0: in clear.", "key"),
            _counter("kv_encryption_reloads_total", "Keys read anew after a change.", "outcome"),
        ),
    ),
    (
        "The store",
        (
            _gauge("kv_store_revision", "Revision of the store."),
            _gauge("kv_store_keys", "Keys in the store."),
            _gauge("kv_store_compacted_revision", "Revision below which history is forgotten."),
            _gauge("kv_leases", "Leases."),
            _counter("kv_leases_expired_total", "Leases that this node let expire as leader."),
            _gauge("kv_watches", "Watches open on this node."),
            _gauge("kv_watch_queue_changes", "Changes that wait for the readers of all watches.", unit="changes"),
            _gauge(
                "kv_watch_lag_revisions",
                "How many revisions the slowest watch with something to tell is behind.",
                unit="revisions",
            ),
            _counter("kv_watches_lagged_total", "Watches that ended because their reader was slow."),
            _gauge("kv_sessions_open", "Sessions of clients."),
            _gauge("kv_answers_kept", "Answers kept for repetitions of writes."),
        ),
    ),
    (
        "Peers, TLS, auth",
        (
            _counter("kv_peer_bad_frames_total", "Frames from peers that could not be read."),
            _counter("kv_peer_truncated_frames_total", "Connections of peers that ended within a frame."),
            _counter("kv_peer_refused_handshakes_total", "Handshakes refused."),
            _counter("kv_peer_late_handshakes_total", "Handshakes that took too long."),
            _counter("kv_peer_reconnects_total", "Connections to peers made again."),
            _counter("kv_tls_handshakes_total", "TLS handshakes done.", "door"),
            _gauge("kv_tls_handshakes_pending", "TLS handshakes under way.", "door"),
            _counter("kv_tls_refused_total", "TLS connections refused.", "door", "reason"),
            _counter("kv_tls_reloads_total", "Certificates read anew after a change.", "outcome"),
            _gauge(
                "kv_tls_certificate_expires_seconds", "When this node's certificate ends, since 1970.", unit="seconds"
            ),
            _gauge("kv_auth_enabled", "1 while auth is enabled."),
            _gauge("kv_auth_revision", "How often users or roles have changed."),
            _counter("kv_auth_refused_total", "Requests that were refused: 401 and 403."),
            _counter("kv_audit_entries_total", "Entries of the audit log."),
            _counter("kv_audit_lost_total", "Entries that had no room, or no disk."),
        ),
    ),
    (
        "The process (`process_` and `python_` as the client library of Prometheus has them)",
        (
            _gauge("process_virtual_memory_bytes", "Virtual memory size.", unit="bytes"),
            _gauge("process_resident_memory_bytes", "Resident memory size.", unit="bytes"),
            _gauge(
                "kv_python_allocated_blocks",
                "Blocks that the interpreter has allocated: flat while memory grows, that is fragmentation, no leak.",
            ),
            _gauge("process_start_time_seconds", "When the process started, since 1970.", unit="seconds"),
            _counter("process_cpu_seconds_total", "Time spent on a CPU.", unit="seconds"),
            _gauge("process_open_fds", "Open file descriptors."),
            _gauge("process_max_fds", "How many there may be."),
            _gauge("python_info", "1; the interpreter.", "version", "implementation", "major", "minor", "patchlevel"),
        ),
    ),
)

ROWS: Final = {row.name: row for _, rows in GROUPS for row in rows}

# Those that a node has only with the setting that they are about.
ONLY_WITH: Final = {
    "kv_redis_": "listen_redis",
    "kv_tls_": "tls_cert",
    "kv_audit_": "audit_log",
    "kv_backup": "backup_dir",
    "kv_encryption_": "encryption_key_file",
}


def page() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Made from the table in `kvstore/telemetry/catalogue.py` by `python -m kvstore.telemetry > docs/metrics.md`. "
        "`GET /metrics` on every node, in the text",
        "format of Prometheus, or OpenMetrics if that is asked for. Alerts, a dashboard and an example of a "
        "configuration are in `cluster/deploy/`; what to do when",
        "an alert fires, in [operations.md](operations.md#alerts). A histogram has `_bucket`, `_sum` and `_count`.",
    ]
    for title, rows in GROUPS:
        lines += ["", f"## {title}", "", "| name | type | labels | unit | meaning |", "|---|---|---|---|---|"]
        for row in rows:
            labels = ", ".join(f"`{label}`" for label in row.labels)
            lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.unit} | {row.meaning} |")
    lines += [
        "",
        "Some are there only with a setting: "
        + "; ".join(f"`{prefix}*` with `{setting}`" for prefix, setting in ONLY_WITH.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"
