"""The checks, in the order in which people want to read them; pure: evidence in, a report out."""

from typing import Final

from kvcli.doctor import cluster_checks, node_checks
from kvcli.doctor.report import Check, Evidence, Report, judge

CHECKS: Final[dict[str, Check]] = {
    "endpoints": cluster_checks.endpoints,
    "cluster": cluster_checks.identity,
    "leader": cluster_checks.leader,
    "quorum": cluster_checks.quorum,
    "size": cluster_checks.size,
    "contents": cluster_checks.contents,
    "alarms": cluster_checks.alarms,
    "handover": cluster_checks.handover,
    "lag": node_checks.lag,
    "metrics": node_checks.metrics,
    "disk": node_checks.disk,
    "sync": node_checks.sync,
    "clocks": node_checks.clocks,
    "versions": node_checks.versions,
    "features": node_checks.features,
    "certificates": node_checks.certificates,
    "files": node_checks.files,
    "growth": node_checks.growth,
}


def examine(evidence: Evidence) -> Report:
    """What all checks say."""
    results = [judge(name, check(evidence)) for name, check in CHECKS.items()]
    return Report(results, cluster_checks.summary(evidence))
