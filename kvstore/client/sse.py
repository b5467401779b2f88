"""Server-sent events, as the HTML standard says that they are read: bytes in, events out. No sockets here.

Lines end with LF, CRLF or CR, wherever the chunks are cut; an event ends with an empty line; a line that begins with a
colon is a comment; what stands before a chunk's last line end is all that is looked at.
"""

from typing import NamedTuple

from kvstore import limits


class Event(NamedTuple):
    """One event. `id` is None where the event has none of its own."""

    name: str
    data: str
    id: str | None


class Parser:
    """Takes chunks, gives events. Raises ValueError for what is not text, or longer than any event of a node."""

    def __init__(self, bytes_max: int = limits.CLIENT_WATCH_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in `chunk`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = self._rest + lines[0]
            self._rest = rest
        else:
            self._rest += rest
        events = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + sum(map(len, self._data)) > self._bytes_max:
            raise ValueError("an event is longer than any event of a node")
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._ended()
        name, _, text = line.decode().partition(":")
        text = text.removeprefix(" ")
        if name == "data":
            self._data.append(text)
        elif name == "event":
            self._name = text
        elif name == "id" and "\0" not in text:
            self._id = text
        return None

    def _ended(self) -> Event | None:
        event = Event(self._name or "message", "\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._id = "", [], None
        return event
