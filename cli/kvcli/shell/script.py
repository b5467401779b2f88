"""A shell without a terminal: lines from a file or a pipe."""

import io
from collections.abc import Iterator
from typing import IO

from kvcli import output
from kvcli.credentials import remembering
from kvcli.exit_codes import Exit
from kvcli.kept import keep_open
from kvcli.shell.session import Leave, Session, here_document
from kvstore import limits


class TooLong(Exception):
    """A line is longer than any that could be meant."""


def run_script(session: Session, source: IO[bytes]) -> int:
    """Carry out the lines of `source`. The exit code of the first one that failed; it is the last one, unless
    `.continue on` stood before it.
    """
    lines = _lines(source)
    with keep_open(), remembering():
        try:
            for number, line in lines:
                code = session.run(*_with_input(line, lines))
                session.note(code)
                if code and not session.go_on:
                    output.message(f"line {number} ended with exit code {int(code)}: stopped there")
                    break
        except Leave:
            pass
        except TooLong as wrong:
            output.message(str(wrong))
            session.note(Exit.INVALID)
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
    return session.failed


def _with_input(line: str, lines: Iterator[tuple[int, str]]) -> tuple[str, IO[bytes]]:
    """The command of a line, and what it reads: what stands up to the word behind <<, nothing without one. The script
    itself is not for commands to read.
    """
    found = here_document(line)
    if found is None:
        return line, io.BytesIO()
    taken: list[str] = []
    for _, text in lines:
        if text.strip() == found[1]:
            break
        taken.append(text)
    return found[0], io.BytesIO("".join(f"{text}\n" for text in taken).encode("utf-8", "surrogateescape"))


def _lines(source: IO[bytes]) -> Iterator[tuple[int, str]]:
    number = 0
    while data := source.readline(limits.SHELL_LINE_BYTES_MAX + 1):
        number += 1
        if len(data) > limits.SHELL_LINE_BYTES_MAX:
            raise TooLong(f"line {number} has more than {limits.SHELL_LINE_BYTES_MAX:,} bytes")
        yield number, data.decode("utf-8", "surrogateescape").rstrip("\r\n")
