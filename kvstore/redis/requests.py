"""Commands out of the bytes of a connection. Pure.

hiredis reads what arrives whole: one or many commands and nothing else. It was written to read replies, so it takes
more than commands may be, keeps what is unfinished without a bound, and makes room for as many elements as an array
says that it has. Therefore it is given whole commands only, without any number of elements above 9,999, and forgets
everything afterwards. A second, exact reader does the rest: what arrives in pieces, lines without a length (what one
types in a terminal), and whatever looks strange. It takes nothing in that is above its bound.

Where hiredis stands after what it was given is not told. So a mark that no client can know is put behind it: if that
comes out last, by itself, all before it was whole.
"""

import re
import secrets
from collections.abc import Callable
from typing import Any, Final

import hiredis

from kvstore import limits
from kvstore.redis.problems import too_large
from kvstore.redis.replies import Error, error

Command = list[bytes]

# None of its characters begins anything in the protocol, so that no part of it is taken for something else.
_MARK: Final = secrets.token_hex(8).encode()
_MARK_SENT: Final = b"$%d\r\n%b\r\n" % (len(_MARK), _MARK)
_MANY: Final = re.compile(rb"\*\d{5}")
_OTHERS: Final = re.compile(rb"[>~%|]\d{5}")
_WORD: Final = re.compile(rb"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']\S*))(?:\s+|\Z)""", re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_NAMED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
_HEADER_BYTES_MAX: Final = 32
_VALUE_BYTES_MAX: Final = limits.VALUE_BYTES_MAX
_STAR: Final = 0x2A
_DOLLAR: Final = b"$"


class Broken:
    """What cannot be read: the connection ends with `reply`."""

    def __init__(self, text: str, prefix: str = "ERR") -> None:
        self.reply = error(prefix, text)


class Refused:
    """A command that was not taken in: `reply` is its answer."""

    def __init__(self, reply: Error) -> None:
        self.reply = reply


Item = Command | Broken | Refused


class Requests:
    """The commands of one connection. `room(n)` is asked before `n` bytes of one argument are collected."""

    def __init__(self, room: Callable[[int], bool]) -> None:
        self._reader = hiredis.Reader()
        self._exact = _Exact(room)

    @property
    def waiting(self) -> int:
        """Bytes of a command that is not complete yet."""
        return self._exact.waiting

    def take(self, data: bytes) -> list[Item]:
        """The commands that `data` completes. Nothing may be given behind a Broken."""
        if self._exact.idle and data[0] == _STAR and data.endswith(b"\r\n") and not _strange(data):
            reader = self._reader
            try:
                reader.feed(data)
                reader.feed(_MARK_SENT)
                found: list[Any] = []
                while (command := reader.gets()) is not False:
                    found.append(command)
                if found and found.pop() == _MARK and all(map(_is_command, found)):
                    return found if all(found) else [each for each in found if each]
            except (hiredis.HiredisError, TypeError, ValueError):
                pass  # it is told below what is wrong with it
            self._reader = hiredis.Reader()
        return self._exact.take(data)


def _strange(data: bytes) -> bool:
    """Whether there is anything that hiredis might take for very many elements."""
    if _MANY.search(data) is not None:
        return True
    # Searching costs more than looking whether there is anything to search for.
    if b">" in data or b"~" in data or b"%" in data or b"|" in data:
        return _OTHERS.search(data) is not None
    return False


def _is_command(found: object) -> bool:
    if type(found) is not list or len(found) > limits.REDIS_ARGUMENTS_MAX:
        return False
    for argument in found:  # noqa: SIM110 a generator costs as much as all of hiredis
        if type(argument) is not bytes or len(argument) > _VALUE_BYTES_MAX:
            return False
    return True


class _Exact:
    """Reads commands byte by byte where that is needed; holds at most one, within the bounds."""

    def __init__(self, room: Callable[[int], bool]) -> None:
        self._room = room
        self._buffer = bytearray()
        self._left = 0  # arguments of the present command that are still to come
        self._arguments: Command = []
        self._size = 0
        self._skip = 0  # bytes of an argument that is thrown away
        self._refusal: Refused | None = None
        self._skipped = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is unfinished."""
        return not self._left and not self._buffer and not self._skip

    @property
    def waiting(self) -> int:
        """Bytes that are held."""
        return len(self._buffer) + self._size

    def take(self, data: bytes) -> list[Item]:
        self._buffer += data
        found: list[Item] = []
        while self._buffer:
            before = len(self._buffer), self._left, self._skip
            item = self._step()
            if item is not None:
                found.append(item)
                if isinstance(item, Broken):
                    break
            elif before == (len(self._buffer), self._left, self._skip):
                break  # nothing moves until more arrives
        return found

    def _step(self) -> Item | None:
        """Take the next part out of the buffer: a header, an argument, a line. A command when it is complete."""
        if self._skip:
            gone = min(self._skip, len(self._buffer))
            del self._buffer[:gone]
            self._skip -= gone
            return None if self._skip else self._argument_done()
        if self._left:
            return self._argument()
        if self._buffer[0] == _STAR:
            return self._begin()
        return self._inline()

    def _begin(self) -> Item | None:
        line = self._line(_HEADER_BYTES_MAX)
        if line is None or isinstance(line, Broken):
            return line
        count = _whole(line[1:])
        if count is None:
            return Broken("Protocol error: invalid multibulk length")
        if count > limits.REDIS_ARGUMENTS_MAX:
            # Redis would take it. Who sends this many is told why, and cannot go on.
            return Broken(f"a command has {limits.REDIS_ARGUMENTS_MAX:,} arguments at most", "TOOLARGE")
        self._left = max(count, 0)
        return None

    def _argument(self) -> Item | None:
        end = self._buffer.find(b"\r\n", 0, _HEADER_BYTES_MAX)
        if end < 0:
            return self._overlong_header()
        head = bytes(self._buffer[:end])
        if head[:1] != _DOLLAR:
            return Broken(f"Protocol error: expected '$', got {head[:1].decode('ascii', 'backslashreplace')!r}")
        length = _whole(head[1:])
        if length is None or length < 0:
            return Broken("Protocol error: invalid bulk length")
        whole = end + 2 + length + 2
        if self._refusal is None:
            self._refusal = self._refused(length)
        if self._refusal is not None:
            self._skipped += whole
            if self._skipped > limits.REDIS_SKIPPED_BYTES_MAX:
                return Broken("Protocol error: invalid bulk length")
            self._skip = whole
            return None
        if len(self._buffer) < whole:
            return None
        self._arguments.append(bytes(self._buffer[end + 2 : end + 2 + length]))
        self._size += length
        del self._buffer[:whole]
        return self._argument_done()

    def _refused(self, length: int) -> Refused | None:
        """Why an argument of this length is thrown away, and with it its command."""
        if length > limits.VALUE_BYTES_MAX:
            return Refused(
                too_large(f"an argument of {length:,} bytes; at most {limits.VALUE_BYTES_MAX:,} are taken").reply
            )
        if self._size + length > limits.REDIS_COMMAND_BYTES_MAX:
            return Refused(too_large(f"a command has {limits.REDIS_COMMAND_BYTES_MAX:,} bytes at most").reply)
        if len(self._buffer) < length and not self._room(length):
            return Refused(error("OVERLOADED", "commands of all clients take too much room already"))
        return None

    def _argument_done(self) -> Item | None:
        self._left -= 1
        if self._left:
            return None
        done: Item = self._refusal or self._arguments
        self._arguments, self._size, self._refusal, self._skipped = [], 0, None, 0
        return done

    def _overlong_header(self) -> Broken | None:
        if len(self._buffer) < _HEADER_BYTES_MAX:
            return None
        return Broken("Protocol error: invalid bulk length")

    def _inline(self) -> Item | None:
        line = self._line(limits.REDIS_INLINE_BYTES_MAX)
        if line is None or isinstance(line, Broken):
            return line
        words = _words(line)
        if words is None:
            return Broken("Protocol error: unbalanced quotes in request")
        if len(words) > limits.REDIS_ARGUMENTS_MAX:
            return Broken(f"a command has {limits.REDIS_ARGUMENTS_MAX:,} arguments at most", "TOOLARGE")
        return words or None

    def _line(self, bytes_max: int) -> bytes | Broken | None:
        """The next line without its end, taken out."""
        end = self._buffer.find(b"\n", 0, bytes_max)
        if end < 0:
            return Broken("Protocol error: too big inline request") if len(self._buffer) >= bytes_max else None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return line


def _words(line: bytes) -> list[bytes] | None:
    """The words of a line as one types it; quotes around a word keep its blanks. None where they do not match."""
    if b'"' not in line and b"'" not in line:
        return line.split()
    words: list[bytes] = []
    line = line.strip()
    place = 0
    while place < len(line):
        found = _WORD.match(line, place)
        if found is None:
            return None
        double, single, bare = found.groups()
        if double is not None:
            words.append(_ESCAPED.sub(_unescaped, double))
        else:
            words.append(bare if single is None else single.replace(b"\\'", b"'"))
        place = found.end()
    return words


def _unescaped(found: "re.Match[bytes]") -> bytes:
    code = found[1]
    return bytes((int(code[1:], 16),)) if len(code) == 3 else _NAMED.get(code, code)


def _whole(digits: bytes) -> int | None:
    """A decimal number as RESP writes it, or None."""
    text = digits.removeprefix(b"-")
    if not text.isdigit() or len(text) > 18:
        return None
    return int(digits)
