"""Server-sent events: however the bytes are cut, the same events; and no event is longer than the bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.client.sse import Event, Parser

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [b"", b"", b": comment", b"event: put", b"event:delete", b"data: {}", b"data:  two", b"data", b"id: 7", b"id:8"]
)


def parsed(chunks: list[bytes]) -> list[Event]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def by_the_book(lines: list[bytes]) -> list[Event]:
    """The same, written down from the standard, a whole line at a time."""
    found, name, data, ident = [], "", [], None
    for line in lines:
        if line == b"":
            if data:
                found.append(Event(name or "message", "\n".join(data), ident))
            name, data, ident = "", [], None
            continue
        field, _, text = line.decode().partition(":")
        text = text[1:] if text.startswith(" ") else text
        if field == "data":
            data.append(text)
        elif field == "event":
            name = text
        elif field == "id":
            ident = text
    return found


@given(st.lists(st.tuples(LINES, ENDS)), st.data())
def test_any_chunks_give_the_same_events(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    # A CR before an empty line that ends with LF would be one line end, not two.
    lines = (
        [(line, b"\n" if end == b"\r" else end) for line, end in lines]
        if data.draw(st.booleans())
        else [(line, b"\r") for line, _ in lines]
    )
    whole = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    expected = by_the_book([line for line, _ in lines])
    assert parsed([whole]) == expected
    assert parsed(chunks) == expected
    assert parsed([whole[i : i + 1] for i in range(len(whole))]) == expected


def test_what_a_node_writes() -> None:
    text = b': from revision 3 on\n\nevent: put\ndata: {"key":"a"}\n\nid: 3\nevent: delete\ndata: {"key":"b"}\n\n'
    assert parsed([text]) == [Event("put", '{"key":"a"}', None), Event("delete", '{"key":"b"}', "3")]


@pytest.mark.parametrize("text", [b"data: " + b"x" * 200, b"data: x\n" * 200, b"x" * 200])
def test_an_event_without_end_is_refused(text: bytes) -> None:
    parser = Parser(bytes_max=100)
    with pytest.raises(ValueError, match="longer"):
        parser.feed(text)


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        Parser().feed(b"data: \xff\n\n")
