"""The members of what `-o json` prints: what programs may rely on. A test runs the commands and compares.

Names in order, and below them what has names of its own: `{a, b: {c}, d: [{e}]}`. NAME stands for any name.
"""

from typing import Final

SHAPES: Final[dict[str, str]] = {
    "put": "{key, revision, version, level, required, acked, outcome, receipt}",
    "put --level one": "{key, revision, version, level, required, acked, outcome, receipt}",
    "get": "{key, value_base64, create_revision, mod_revision, version, lease, stamp}",
    "get --prefix": (
        "{revision, count, records: [{key, value_base64, create_revision, mod_revision, version, lease, "
        "stamp}], cursor}"
    ),
    "delete": "{key, revision, version, level, required, acked, outcome, receipt}",
    "delete --prefix": "{deleted, revision, dry_run}",
    "txn": (
        "{succeeded, revision, results: [{op, record: {key, value_base64, create_revision, mod_revision, "
        "version, lease, stamp}} or {op, count, more, records: [{key, value_base64, create_revision, "
        "mod_revision, version, lease, stamp}]} or {op, key, version} or {op, deleted}]}"
    ),
    "watch": (
        "{event, revision, key, value_base64, create_revision, mod_revision, version, lease, stamp} or "
        "{event, revision, key}"
    ),
    "receipt": "{id, level, state, revision, reason}",
    "lease grant": "{id, ttl_seconds}",
    "lease list": "{leases: []}",
    "lease show": "{id, ttl_seconds, remaining_seconds, keys: []}",
    "lease keep-alive": "{id, ttl_seconds}",
    "lease revoke": "{id, deleted}",
    "status": (
        "{cluster_id, node, leader, term, commit_index, revision, members: [{name, role, voter, reachable, "
        "http, peer, match_index, applied_index, intents_pending, digest: {index, value}}], alarms: []}"
    ),
    "top": (
        "{leader, term, revision, commit_index, keys, leader_changes, seconds, nodes: [{name, role, reachable, "
        "applied_index, lag, pending, requests_hz, errors_hz, sync_p99_s, connections, watches, memory_bytes, "
        "disk_free_bytes}], loads: [{kind, level, outcome, hz, p50_s, p99_s}], statuses, alarms: [], silent: []}"
    ),
    "doctor": (
        "{fine, exit_code, summary, checks: [{name, verdict, seen}], findings: [{check, severity, code, detail, todo}]}"
    ),
    "member list": (
        "{cluster_id, node, leader, term, commit_index, revision, members: [{name, role, voter, reachable, "
        "http, peer, match_index, applied_index, intents_pending, digest: {index, value}}], alarms: []}"
    ),
    "member add": "{name, peer}",
    "member remove": "{name, lost_writes}",
    "settings list": "{feature_level, settings: {NAME: {value, min, max, unit}}}",
    "settings set": "{feature_level, settings: {NAME: {value, min, max, unit}}}",
    "import": "{complete, keys, bytes, seconds, retries, longest_pause_seconds, skipped: [], failed: []}",
    "snapshot save": "{file, bytes, revision, compacted, keys, leases, digest, index, term, last_write, members: []}",
    "snapshot verify": "{file, bytes, revision, compacted, keys, leases, digest, index, term, last_write, members: []}",
    "snapshot restore": "{cluster_id, name, data_dir}",
    "compact": "{compacted}",
    "auth enable": "{auth_revision}",
    "auth disable": "{auth_revision}",
    "auth status": "{enabled, auth_revision, user, roles: []}",
    "auth rotate": "{auth_revision}",
    "user add": "{auth_revision}",
    "user delete": "{auth_revision}",
    "user list": "{users: [{name, password, roles: []}]}",
    "user passwd": "{auth_revision}",
    "user grant": "{auth_revision}",
    "user revoke": "{auth_revision}",
    "role add": "{auth_revision}",
    "role delete": "{auth_revision}",
    "role list": "{roles: [{name, permissions: [{verbs: [], start, end}]}]}",
    "role show": "{name, permissions: [{verbs: [], start, end}]}",
    "role grant": "{auth_revision}",
    "role revoke": "{auth_revision}",
    "token": "{token, user, expires_seconds}",
    "cert ca": "{cert, key, expires, hosts: []}",
    "cert node": "{cert, key, expires, hosts: []}",
    "cert client": "{cert, key, expires, hosts: []}",
    "cluster env": "{KV_CLUSTER_DIR, KV_ENDPOINTS}",
    "cluster status": "{dir, cluster_id, endpoints: [], nodes: [{name, http, peer, pid, data_dir, state, role}]}",
    "cluster pause": "{dir, nodes: [{name, state, pid}]}",
    "cluster resume": "{dir, nodes: [{name, state, pid}]}",
    "bench put": (
        "{workload, door, level, endpoints: [], redis_endpoints: [], nodes, leader, clients, batch, watches, "
        "reads_percent, size_bytes, keys, seed, warmup_seconds, seconds, operations, operations_per_second, "
        "latency_ms: {p50, p90, p99, p999, worst}, by_operation: {put: {operations, latency_ms: {p50, p90, "
        "p99, p999, worst}}}, errors: [], rate: {interval_seconds, operations_per_second: []}, client: "
        "{cpu_share, bottleneck}, keys_left}"
    ),
    "odds": (
        "{p, rows: [{n, majority, documented, raft, one, quorum, all, nines: {documented, raft, one, quorum, "
        "all}, downtime_s_per_year: {documented, raft, one, quorum, all}, even_warning}]}"
    ),
}

# Printed by commands that break things or take long: other tests hold them (goldens of the harness and of the bench).
ELSEWHERE: Final[dict[str, str]] = {
    "member transfer": "{leader}",
    "elect": "{key, value, token}",
    "cluster up": SHAPES["cluster status"],
    "cluster kill": SHAPES["cluster pause"],
    "cluster restart": SHAPES["cluster pause"],
    "cluster down": SHAPES["cluster pause"],
    "cluster partition": "{dir, links: [{from, to, state, delay_ms}]}",
    "cluster heal": "{dir, links: [{from, to, state, delay_ms}]}",
    "bench get": SHAPES["bench put"],
    "bench mixed": SHAPES["bench put"],
    "bench batch": SHAPES["bench put"],
    "bench watch": "as of bench put, and what was seen of the events",
    "bench failover": (
        "{dir, nodes, writers, attempt_s, kills: {rounds, median_s, p90_s, worst_s, ...}, pauses: {the same}, "
        "client: {kills, pauses}}"
    ),
    "chaos run": "what results.json of the run has, without faults and phases",
    "chaos suite": "what summary.json of the suite has: runs, operations, verdicts, injections, ...",
    "chaos report": "{report}",
    "chaos simulate": (
        "{seeds, failed: [], simulated_hours, acknowledged, reads, unknown, entries, elections, faults, crashes, "
        "delivered, lost, wall_seconds}"
    ),
    "chaos check": "{verdict, model, keys, ops, witness: {key, ops: []}}",
    "chaos odds": "what odds.json has (docs/availability.md)",
}

# No -o json here, and why.
WITHOUT: Final[dict[str, str]] = {
    "serve": "its log is JSON off a terminal",
    "shell": "each command in it has its own",
    "lock": "the command that it runs prints what it likes",
    "export": "always ndjson: {key, value}, key_base64 and value_base64 for what is not UTF-8",
    "member recover": "its exit code tells",
    "completion": "a script for a shell",
    "help": "text for people",
}
