"""`kv chaos report`: the page about a run that was recorded, made again from its files."""

from pathlib import Path

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import command


@command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@global_options
def report(directory: Path, show: bool) -> int:
    """Make the report of a run again, from DIR/results.json and DIR/history.jsonl, and print where it is.

    The page is one file, DIR/report.html, and needs no network. Results that cannot be read end with exit code 7.
    What the run found does not change the exit code: the page was made.
    """
    from kvjepsen import report as page

    path = page.write(directory)
    if settings().output is Mode.JSON:
        output.write_json({"report": str(path)})
    else:
        output.write_line(str(path))
    if show:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            output.message(f"there is no browser that could be started; open {path} yourself")
    return Exit.OK
