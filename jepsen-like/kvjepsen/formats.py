"""Files of histories: our own JSONL, and two foreign formats. One that cannot be used raises BadHistory with the line.

    jsonl         docs/history-format.md
    jepsen        the log lines of Jepsen's register tests: INFO jepsen.util - PROCESS :TYPE :F VALUE
    porcupine-kv  one EDN map a line with :process :type :f :key :value; get, put and append; absent is ""

Compressed files (gzip, lz4) are known by their first bytes. Files are read a line at a time, each bounded.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, cast

import lz4.frame
import msgspec

from kvjepsen.records import UNMET, Event, History, Line, Pairing
from kvstore import limits
from kvstore.errors import LocalError

_GZIP: Final = b"\x1f\x8b"
_LZ4: Final = b"\x04\x22\x4d\x18"

# PROCESS :TYPE :F VALUE, with tabs or spaces between.
_JEPSEN: Final = re.compile(r"jepsen\.util - (:?[\w-]+)\s+:(invoke|ok|fail|info)\s+:([\w-]+)\s*(.*)")
_LOG_LINE: Final = re.compile(r"(?:\S+ )*(?:TRACE|DEBUG|INFO|WARN|ERROR)\b")
_PAIR: Final = re.compile(r"\[(\S+) (\S+)\]")

_EDN_FIELD: Final = re.compile(r':([a-z]+)\s+(?:(-?\d+)|:([\w-]+)|(nil)|"((?:[^"\\]|\\.)*)")\s*,?\s*')
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class BadHistory(LocalError):
    """A history that cannot be read: says which file, which line, and what is wrong with it."""

    exit_code: ClassVar[int] = 7


def read_history(path: Path | str, format: str = "jsonl") -> History:
    """The history in a file. Raises BadHistory, also when the file cannot be read at all or holds no operation."""
    decode, timed = _FORMATS[format]
    pairing = Pairing()
    for number, raw in _lines(Path(path)):
        try:
            line = decode(raw, number)
            if line is not None:
                pairing.add(line, timed=timed)
        except ValueError as wrong:
            raise BadHistory(f"{path}:{number}: {wrong}") from wrong
    if not pairing.history.operations:
        raise BadHistory(f"{path}: there is no operation in it, so nothing can be checked")
    return pairing.history


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    most = limits.HISTORY_LINE_BYTES_MAX
    try:
        with path.open("rb") as file, _plain(file) as source:
            while raw := source.readline(most + 1):
                number += 1
                if len(raw) > most:
                    raise BadHistory(f"{path}:{number}: a line of more than {most:,} bytes")
                if raw.strip():
                    yield number, raw
    except (EOFError, zlib.error, RuntimeError) as wrong:
        raise BadHistory(f"{path}:{number + 1}: the compressed file is damaged or ends early: {wrong}") from wrong
    except OSError as failed:
        # gzip says this of a damaged file too.
        raise BadHistory(f"{path}: {failed.strerror or failed}") from failed


def _plain(file: BinaryIO) -> BinaryIO:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == _GZIP:
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if magic == _LZ4:
        return lz4.frame.open(file, "rb")
    return file


_decode_line: Final = msgspec.json.Decoder(Line).decode


def _jsonl(raw: bytes, _: int) -> Line:
    line = _decode_line(raw)
    if line.key is not None and line.key_base64 is not None:
        raise ValueError("give key or key_base64, not both")
    return line


def _jepsen(raw: bytes, number: int) -> Line | None:
    text = raw.decode()
    found = _JEPSEN.search(text)
    if found is None:
        if _LOG_LINE.match(text) and "jepsen.util" not in text:
            return None  # other lines of the same log
        raise ValueError("not a line of Jepsen's: INFO jepsen.util - PROCESS :TYPE :F VALUE")
    process, event, f, told = found.groups()
    if process.startswith(":"):
        return Line(number, 0, process[1:], "info", f, value=told)
    value, error = _clojure(told.strip())
    if event == "fail" and f == "cas" and error is None:
        error = UNMET
    return Line(number, 0, int(process), cast(Event, event), f, value=value, error=error)


def _clojure(text: str) -> tuple[Any, str | None]:
    """A value of a Jepsen log, and the error if it is one."""
    if text.startswith(":"):
        return None, text[1:]
    pair = _PAIR.fullmatch(text)
    if pair is not None:
        return [_clojure(part)[0] for part in pair.groups()], None
    if text in ("nil", ""):
        return None, None
    try:
        return int(text), None
    except ValueError:
        raise ValueError(f"cannot read the value {text!r}") from None


def _porcupine(raw: bytes, number: int) -> Line:
    fields = _edn(raw.decode().strip())
    try:
        event, process, f, key = fields["type"], fields["process"], fields["f"], fields["key"]
    except KeyError as missing:
        raise ValueError(f"there is no :{missing.args[0]}") from None
    value = fields.get("value") or None  # in these stores "" and absent are the same
    if event not in ("invoke", "ok", "fail", "info") or not isinstance(process, int):
        raise ValueError(f"cannot use :type {event!r} with :process {process!r}")
    names = {"get": "read", "put": "write", "append": "append"}
    if f not in names:
        raise ValueError(f"cannot use :f {f!r}")
    if f == "append" and value is None:
        value = ""
    return Line(number, 0, process, cast(Event, event), names[f], key=str(key), value=value)


def _edn(text: str) -> dict[str, Any]:
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("not an EDN map on one line")
    fields: dict[str, Any] = {}
    at = 1
    while at < len(text) - 1:
        found = _EDN_FIELD.match(text, at)
        if found is None:
            raise ValueError(f"cannot read the map from {text[at : at + 20]!r}")
        name, number, keyword, nil, string = found.groups()
        if number is not None:
            fields[name] = int(number)
        elif string is not None:
            fields[name] = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), string)
        else:
            fields[name] = None if nil else keyword
        at = found.end()
    return fields


_FORMATS: Final[dict[str, tuple[Callable[[bytes, int], Line | None], bool]]] = {
    "jsonl": (_jsonl, True),
    "jepsen": (_jepsen, False),
    "porcupine-kv": (_porcupine, False),
}
FORMATS: Final = tuple(_FORMATS)
