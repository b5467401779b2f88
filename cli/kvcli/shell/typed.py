"""A shell on a terminal, on prompt_toolkit: the only file that knows it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from kvcli import output
from kvcli.credentials import remembering
from kvcli.exit_codes import Exit
from kvcli.extras import needs
from kvcli.kept import keep_open
from kvcli.shell import history
from kvcli.shell.session import Leave, Session
from kvcli.shell.words import as_typed, complete
from kvstore.errors import LocalError

try:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.output.color_depth import ColorDepth
except ImportError as missing:
    raise LocalError(
        f"{needs('kv shell on a terminal', 'prompt_toolkit', 'shell')}. "
        "Without it, lines can be piped in: kv shell < commands.txt"
    ) from missing


class _Words(Completer):
    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        incomplete, items = complete(self._session, line)
        typed = line[len(line.rstrip()) :] if not incomplete else line.split()[-1]
        for item in items:
            replaces = -len(typed) if incomplete else 0
            yield Completion(as_typed(str(item.value)), replaces, display=str(item.value), display_meta=item.help or "")


class _History(FileHistory):
    def store_string(self, string: str) -> None:
        if history.worth_keeping(string):
            super().store_string(string)


def run_typed(session: Session) -> int:
    """Prompt for lines and carry them out, until somebody leaves. The exit code is 0: each line's own was seen."""
    prompts: PromptSession[str] = PromptSession(
        history=_history(),
        completer=ThreadedCompleter(_Words(session)),
        complete_while_typing=False,
        color_depth=ColorDepth.DEPTH_1_BIT if output.colourless() else None,
    )
    output.message("commands without 'kv': help lists them, .help lists the rest; Ctrl-D leaves")
    with keep_open() as kept, remembering():
        while True:
            try:
                line = kept.runner.run(_ask(prompts, session))
                if line is None:
                    return Exit.OK
                session.run(line)
            except KeyboardInterrupt:
                continue
            except Leave:
                return Exit.OK


async def _ask(prompts: "PromptSession[str]", session: Session) -> str | None:
    try:
        return await prompts.prompt_async(f"kv{'' if session.level is None else f' {session.level}'}> ")
    except EOFError:
        return None
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _history() -> History:
    file = history.path()
    try:
        history.prepare(file)
    except OSError as failed:
        output.message(f"no history: {file}: {failed.strerror}")
        return InMemoryHistory()
    return _History(str(file))


__all__: list[Any] = ["run_typed"]
