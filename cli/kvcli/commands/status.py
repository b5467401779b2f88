"""`kv status`: the members of the cluster as one node sees them."""

from typing import Any

from kvcli import output
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command

_COLUMNS = ["NAME", "ROLE", "VOTER", "UP", "ENDPOINT", "MATCH", "APPLIED", "PENDING"]


@command(short_help="Show the members of the cluster.")
@global_options
def status() -> None:
    """Show leader, term, revision and every member, as the node that answers sees them.

    MATCH is the last log entry that the leader knows to be on that member, APPLIED the last one that it has applied.
    PENDING are writes at level one that it has taken and not yet handed over. Alarms stand below.
    """
    show_cluster()


def show_cluster() -> None:
    """Ask for the cluster and write it in the chosen form."""
    document = run_with_client(lambda client: client.cluster_document())
    mode = settings().output
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(document)
        return
    output.write_line(
        f"leader {document.get('leader') or 'none'}, term {document.get('term')}, revision {document.get('revision')}, "
        f"commit index {document.get('commit_index')} (as {document.get('node')} sees it)"
    )
    output.write_rows(_COLUMNS, [_row(member) for member in document.get("members", [])], mode)
    for alarm in document.get("alarms", []):
        output.write_line(f"alarm {alarm.get('code')} on {alarm.get('node')}: {alarm.get('detail')}")


def _row(member: dict[str, Any]) -> list[str]:
    names = ("name", "role", "voter", "reachable", "http", "match_index", "applied_index")
    # A member that does not answer does not say what it has.
    pending = member.get("intents_pending") if member.get("reachable") else None
    return [*(_cell(member.get(name)) for name in names), _cell(pending)]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
