"""Checks of each node, by its metrics. A node whose metrics cannot be read, or that is too old to tell, is left out; if
all are, the check is skipped.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

from kvcli.doctor.report import Evidence, Finding, Outcome
from kvcli.exit_codes import Exit
from kvcli.progress import human_bytes
from kvcli.sizes import duration
from kvstore.model.results import ClusterView

ROOM_SHARE_MIN: Final = 0.1
ROOM_BYTES_MIN: Final = 1 << 30
ROOM_BYTES_FEW: Final = 128 << 20
SYNC_S_SLOW: Final = 0.1
SYNC_SHARE: Final = 0.99
CLOCK_SHARE_MAX: Final = 0.5
CERTIFICATE_S_SOON: Final = 14 * 86_400.0
FILES_SHARE_MAX: Final = 0.8
FILES_MIN: Final = 1_024
LAG_ENTRIES_MANY: Final = 10_000
GROWTH_SHARE: Final = 0.9
WATCHES_MANY: Final = 10_000
UNCOVERED_TIMES: Final = 3.0

# What the tables are bounded by is a replicated setting of this name.
_TABLES: Final = (
    ("kv_leases", "leases_max", "leases", "revoke some (kv lease list), or: kv settings set leases_max N"),
    ("kv_sessions_open", "sessions_max", "sessions of clients", "close clients, and use one for a process"),
    ("kv_answers_kept", "answers_max", "answers kept", "fewer idempotency keys, or a shorter window"),
)


def metrics(evidence: Evidence) -> Outcome:
    """Whose metrics can be read."""
    readable = evidence.nodes()
    silent = {
        each.name: each.metrics
        for each in evidence.told
        if each.name is not None and isinstance(each.metrics, Exception)
    }
    known = {member.name for view in evidence.views.values() for member in view.members if member.reachable}
    if not known:
        return Outcome(None, skipped="no endpoint answers")
    findings = [
        Finding(
            "metrics_unreadable",
            f"the metrics of {name} cannot be read ({reason})",
            "with metrics_private they need a token of a user who may admin: --user, KV_TOKEN",
            Exit.OK,
        )
        for name, reason in sorted(silent.items())
        if name is not None
    ]
    unseen = sorted(known - set(readable) - set(silent))
    if unseen:
        detail = f"{', '.join(unseen)} cannot be reached from here: what concerns a single node is not checked there"
        findings.append(Finding("nodes_unseen", detail, "name their endpoints with --endpoints", Exit.OK))
    return Outcome(f"of {_names(readable)}", findings)


def disk(evidence: Evidence) -> Outcome:
    """Room where the data is."""
    free, sizes = evidence.values("kv_disk_free_bytes"), evidence.values("kv_disk_size_bytes")
    todo = "make room, or lower the bounds on history (kv settings list); a full disk refuses writes"
    findings = []
    for name, room in free.items():
        share = room / sizes[name] if sizes.get(name) else 1.0
        detail = f"{name} has {human_bytes(int(room))} of room left, {share:.0%}"
        if room < ROOM_BYTES_FEW:
            findings.append(Finding("disk_full", detail, todo))
        elif room < ROOM_BYTES_MIN or share < ROOM_SHARE_MIN:
            findings.append(Finding("disk_room", detail, todo, Exit.OK))
    return _told(free, lambda name: f"{human_bytes(int(free[name]))} free", findings)


def sync(evidence: Evidence) -> Outcome:
    """How long the disk takes to make writes durable: every write waits for it."""
    slowest: dict[str, float] = {}
    for name, told in evidence.nodes("kv_journal_sync_seconds_bucket").items():
        assert not isinstance(told.metrics, Exception)
        if (seconds := told.metrics.buckets("kv_journal_sync_seconds").quantile(SYNC_SHARE)) is not None:
            slowest[name] = seconds
    findings = [
        Finding(
            "disk_slow",
            f"one of a hundred syncs of {name} takes {duration(seconds)} or longer",
            "give it a faster disk, or one of its own; elections begin when syncs take as long as they wait",
            Exit.OK,
        )
        for name, seconds in slowest.items()
        if seconds >= SYNC_S_SLOW
    ]
    return _told(slowest, lambda name: f"p99 {duration(slowest[name])}", findings)


def clocks(evidence: Evidence) -> Outcome:
    """How far the clocks are from each other: the leader asks every voter once a second."""
    offsets: dict[str, float] = {}
    for told in evidence.nodes("kv_clock_offset_seconds").values():
        assert not isinstance(told.metrics, Exception)
        offsets |= {labels.get("member", "?"): value for labels, value in told.metrics.rows("kv_clock_offset_seconds")}
    if len(offsets) < 2:
        return Outcome(None, skipped="no leader told of more than one clock")
    middle = median(offsets.values())
    away = {name: offset - middle for name, offset in offsets.items()}
    allowed = evidence.setting("clock_drift_ms_max") / 1000 * CLOCK_SHARE_MAX
    findings = [
        Finding(
            "clock_off",
            f"the clock of {name} is {offset:+.2f} s from the others",
            "set it right, with NTP or chrony: writes at level one are ordered by it",
            Exit.OK,
        )
        for name, offset in away.items()
        if abs(offset) > allowed
    ]
    return Outcome(f"{_names(away)} within {duration(max(away.values()) - min(away.values()))}", findings)


def versions(evidence: Evidence) -> Outcome:
    """Whether all run the same one."""
    running = _info(evidence, "version")
    if not running:
        return Outcome(None, skipped="no node told its version")
    shown = "; ".join(f"{version} on {', '.join(sorted(names))}" for version, names in sorted(running.items()))
    todo = "finish the upgrade: docs/operations.md"
    return Outcome(shown, [Finding("versions_differ", f"versions differ: {shown}", todo, Exit.OK)] * (len(running) > 1))


def features(evidence: Evidence) -> Outcome:
    """Whether the cluster can use what its newest node knows."""
    known = {int(level): names for level, names in _info(evidence, "features").items() if level.isdecimal()}
    if not known:
        return Outcome(None, skipped="no node told what it knows")
    lowest, highest = min(known), max(known)
    used = "" if evidence.feature_level is None else f"level {evidence.feature_level} in use, "
    seen = f"{used}level {lowest} known to all"
    if highest == lowest:
        return Outcome(seen)
    old = sorted(name for level, names in known.items() if level < highest for name in names)
    detail = f"{', '.join(old)} knows less than level {highest}: what came later is refused"
    return Outcome(seen, [Finding("features_held_back", detail, "upgrade it: docs/operations.md", Exit.OK)])


def certificates(evidence: Evidence) -> Outcome:
    """How long they are valid yet."""
    ends = evidence.values("kv_tls_certificate_expires_seconds")
    if not ends:
        return Outcome(None, skipped="no node told of a certificate: they speak without TLS")
    findings = []
    for name, end_s in ends.items():
        left_s = end_s - evidence.now_s
        todo = "replace the files, and they are read anew: kv cert node --help, docs/security.md"
        if left_s <= 0:
            findings.append(Finding("certificate_expired", f"the certificate of {name} has expired", todo))
        elif left_s < CERTIFICATE_S_SOON:
            detail = f"the certificate of {name} expires in {duration(left_s)}"
            findings.append(Finding("certificate_expires", detail, todo, Exit.OK))
    return _told(ends, lambda name: f"{duration(max(0.0, ends[name] - evidence.now_s))} left", findings)


def files(evidence: Evidence) -> Outcome:
    """Open files, connections among them, against what the system allows."""
    opened, allowed = evidence.values("process_open_fds"), evidence.values("process_max_fds")
    findings = []
    for name, most in allowed.items():
        todo = "raise it: ulimit -n, or LimitNOFILE of its systemd unit"
        if (count := opened.get(name, 0.0)) > FILES_SHARE_MAX * most:
            detail = f"{name} has {count:,.0f} files open, of {most:,.0f} allowed"
            findings.append(Finding("files_open", detail, todo))
        elif most < FILES_MIN:
            findings.append(Finding("files_few", f"{name} may open {most:,.0f} files only", todo, Exit.OK))
    return _told(allowed, lambda name: f"{opened.get(name, 0.0):,.0f} of {allowed[name]:,.0f}", findings)


def lag(evidence: Evidence) -> Outcome:
    """Members that are far behind."""
    if not evidence.views:
        return Outcome(None, skipped="no endpoint answers")
    behind: dict[str, int] = {}
    for view in evidence.views.values():
        if isinstance(view, ClusterView):
            for member in view.members:
                if member.reachable and member.applied_index is not None:
                    lags = view.commit_index - member.applied_index
                    behind[member.name] = min(behind.get(member.name, lags), lags)
    findings = [
        Finding(
            "lag",
            f"{name} is {entries:,} entries behind",
            "wait until it has caught up; if it never does: is its disk or its link too slow?",
            Exit.OK,
        )
        for name, entries in sorted(behind.items())
        if entries > LAG_ENTRIES_MANY
    ]
    return _told(behind, lambda name: f"{max(0, behind[name]):,} entries", findings)


def growth(evidence: Evidence) -> Outcome:
    """What grows towards its bound, or without one."""
    findings, seen = [], []
    for metric, setting, what, todo in _TABLES:
        bound = evidence.setting(setting)
        values = evidence.values(metric)
        if not values:
            continue
        most = max(values.values())
        seen.append(f"{most:,.0f} {what}")
        if most > GROWTH_SHARE * bound:
            detail = f"{most:,.0f} {what}, of {bound:,} at most; beyond that, new ones are refused"
            findings.append(Finding("growth", detail, todo, Exit.OK))
    snapshot_at = evidence.values("kv_snapshot_log_limit_bytes")
    for name, size in evidence.values("kv_journal_since_snapshot_bytes").items():
        if size > UNCOVERED_TIMES * snapshot_at.get(name, size):
            detail = f"{name} has {human_bytes(int(size))} of log that no snapshot covers"
            todo = "its snapshots fail or are slow: look into its log, and at the room on its disk"
            findings.append(Finding("log_uncovered", detail, todo))
    for name, count in evidence.values("kv_watches").items():
        if count > WATCHES_MANY:
            detail = f"{count:,.0f} watches are open on {name}"
            findings.append(Finding("growth", detail, "do clients open one after the other, and close none?", Exit.OK))
    if not seen:
        return Outcome(None, skipped="no node told its sizes")
    return Outcome(", ".join(seen), findings)


def _info(evidence: Evidence, label: str) -> dict[str, list[str]]:
    """Nodes by the value of a label of theirs."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, told in evidence.nodes("kv_node_info").items():
        assert not isinstance(told.metrics, Exception)
        for labels, _ in told.metrics.rows("kv_node_info"):
            found[labels.get(label, "?")].append(name)
    return found


def _told(values: Mapping[str, object], shown: Callable[[str], str], findings: list[Finding]) -> Outcome:
    if not values:
        return Outcome(None, skipped="no node told it")
    return Outcome(", ".join(f"{name} {shown(name)}" for name in sorted(values)), findings)


def _names(of: Mapping[str, object]) -> str:
    return ", ".join(sorted(of)) or "none"
