import pytest

from kvstore.model.keys import prefix_end, successor


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"a", b"b"),
        (b"app/", b"app0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xfe", b"\xff"),
        (b"\x00", b"\x01"),
        (b"a\x00", b"a\x01"),
        (b"", None),
        (b"\xff", None),
        (b"\xff\xff\xff", None),
    ],
)
def test_the_end_of_a_prefix_is_the_least_key_above_all_that_start_with_it(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end
    for tail in (b"", b"\x00", b"\xff", b"\xff" * 9):
        assert prefix + tail >= prefix
        assert end is None or prefix + tail < end


def test_no_key_lies_between_a_key_and_its_successor() -> None:
    assert b"a" < successor(b"a") <= b"a\x00"
