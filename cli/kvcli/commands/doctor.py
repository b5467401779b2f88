"""`kv doctor`: asks every node what it sees, checks it, and says what to do."""

import asyncio
import time
from typing import TYPE_CHECKING

import click

from kvcli import output
from kvcli.options import Settings, global_options, settings
from kvcli.output import Mode
from kvcli.pages import command

if TYPE_CHECKING:
    from kvcli.doctor.report import Evidence, Report


@command(short_help="Look for what is wrong, and say what to do.")
@click.option("--all", "everything", is_flag=True, help="Show the checks that found nothing, too.")
@global_options
def doctor(everything: bool) -> int:
    """Ask every node how it is and how it sees the others, and say what to do about what is wrong: endpoints, leader,
    quorum and its margin, even sizes, equal contents, alarms, lag, disk, clocks, versions, certificates, open files,
    and what grows. One endpoint is enough: it names the others.

    Exit code 0: fine, perhaps with advice. 1: something is wrong, the cluster works. 3: no endpoint answers.
    4: no quorum or no leader. 8: contents differ, or two leaders in one term. What cannot be seen is told as skipped.
    Where auth is enabled any user may ask; with metrics_private a user who may admin.
    """
    from kvcli.doctor.table import examine

    chosen = settings()
    report = examine(asyncio.run(gather(chosen)))
    if chosen.output in (Mode.JSON, Mode.RAW):
        output.write_json(report.to_json())
    elif chosen.output is Mode.TABLE:
        rows = [[each.name, each.verdict, each.seen] for each in report.results]
        rows += [["", "", f"{f.detail}; {f.todo}" if f.todo else f.detail] for f in report.findings]
        output.write_rows(["check", "verdict", "seen"], rows, chosen.output)
    else:
        _tell(report, everything)
    return report.exit_code


def _tell(report: "Report", everything: bool) -> None:
    output.write_line(report.summary)
    if everything:
        for result in report.results:
            output.write_line(f"{result.verdict:7}  {result.name:12}  {result.seen}")
    for finding in report.findings:
        output.write_line(f"{'PROBLEM' if finding.exit_code else 'advice'}: {finding.detail}")
        if finding.todo:
            output.write_line(f"    {finding.todo}")
    verdicts = [result.verdict for result in report.results]
    skipped = f", {verdicts.count('skipped')} skipped" if "skipped" in verdicts else ""
    counted = f"{verdicts.count('ok')} of {len(verdicts)} checks found nothing{skipped}"
    more = "" if everything else " (kv doctor --all shows them)"
    output.write_line(f"{'something is wrong' if report.exit_code else 'fine'}: {counted}{more}")


async def gather(chosen: Settings) -> "Evidence":
    """What every node tells."""
    from kvcli.doctor.report import Evidence
    from kvcli.nobody import advice
    from kvcli.scraping import Scraper
    from kvstore.errors import CannotConnect, DeadlineExceeded, KvError, LocalError

    who = chosen.who  # asked for once
    scraper = Scraper(chosen, who)
    try:
        told = await scraper.round()
    finally:
        await scraper.close()
    bounds: dict[str, int] = {}
    level: int | None = None
    answering = tuple(each.endpoint for each in told if not isinstance(each.view, Exception))
    if answering:
        try:
            async with chosen.client(answering, timeout_s=scraper.timeout_s, who=who, sessions=False) as client:
                answer = await client.settings()
            level = int(answer["feature_level"])
            bounds = {name: int(row["value"]) for name, row in answer["settings"].items()}
        except (KvError, LocalError, KeyError, TypeError, ValueError):
            bounds = {}  # an older node, or none that can say: the defaults are taken
    silent = [each.endpoint for each in told if isinstance(each.view, (CannotConnect, DeadlineExceeded))]
    todos = {each: advice((each,))[0] for each in silent}
    return Evidence(told, bounds, level, time.time(), todos)
