"""`kv doctor`: asks every endpoint for its view of the cluster and says what is wrong."""

import asyncio
from typing import TYPE_CHECKING, Final

import click

from kvcli import output
from kvcli.options import Settings, global_options, settings
from kvcli.output import Mode

if TYPE_CHECKING:
    from kvstore.model.results import ClusterView

_ASK_S_MAX: Final = 2.0


@click.command(short_help="Look for what is wrong, and say what to do.")
@global_options
def doctor() -> int:
    """Ask every endpoint how it sees the cluster: reachable, agreed on a leader, enough voters, equal contents, alarms.

    Exit code 0: fine, perhaps with advice. 1: something is wrong, the cluster works. 3: no endpoint answers.
    4: no quorum or no leader. 8: contents differ, or two leaders in one term. Writes at level one that a node has not
    handed over yet are told as advice.
    """
    from kvcli.diagnosis import examine

    chosen = settings()
    report = examine(asyncio.run(_ask(chosen, min(chosen.timeout_s, _ASK_S_MAX))))
    if chosen.output in (Mode.JSON, Mode.RAW):
        output.write_json(report.to_json())
        return report.exit_code
    if chosen.output is Mode.TABLE:
        rows = [["problem" if f.exit_code else "advice", f.code, f.detail] for f in report.findings]
        output.write_rows(["severity", "code", "detail"], rows, chosen.output)
        return report.exit_code
    output.write_line(report.summary)
    for finding in report.findings:
        output.write_line(f"{'PROBLEM' if finding.exit_code else 'advice'}: {finding.detail}")
    if not report.exit_code:
        output.write_line("fine")
    return report.exit_code


async def _ask(chosen: Settings, timeout_s: float) -> "dict[str, ClusterView | Exception]":
    from kvstore.errors import KvError, LocalError

    who = chosen.who  # asked for once

    async def one(endpoint: str) -> "ClusterView | Exception":
        async with chosen.client((endpoint,), timeout_s=timeout_s, who=who) as client:
            try:
                return await client.cluster()
            except (KvError, LocalError) as failed:
                return failed

    return dict(zip(chosen.endpoints, await asyncio.gather(*map(one, chosen.endpoints)), strict=True))
