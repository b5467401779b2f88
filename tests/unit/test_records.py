"""Histories as lines: what is paired with what, what is refused, and that what was recorded is read again."""

import gzip
import io
from pathlib import Path
from typing import Any

import lz4.frame
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvjepsen import formats
from kvjepsen.formats import BadHistory, read_history
from kvjepsen.records import NEVER, History, Line, Pairing, Recorder, comparable, encode
from kvstore import limits

DESIGN_FIELDS = [
    "i",
    "t_ns",
    "process",
    "client",
    "node",
    "type",
    "f",
    "key",
    "value",
    "version",
    "revision",
    "level",
    "error",
]


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def recorded(fill: Any) -> bytes:
    sink = io.BytesIO()
    fill(Recorder(sink, Clock()))
    return sink.getvalue()


def read(tmp_path: Path, data: bytes, form: str = "jsonl", name: str = "h") -> History:
    path = tmp_path / name
    path.write_bytes(data)
    return read_history(path, form)


class TestRecorder:
    def test_a_line_has_the_fields_of_the_design_in_their_order(self) -> None:
        data = recorded(lambda recorder: recorder.ok(recorder.invoke(1, "write", key="x", value=5), revision=7))
        for line in data.splitlines():
            assert list(msgspec.json.decode(line)) == DESIGN_FIELDS

    def test_what_is_recorded_is_read_again(self, tmp_path: Path) -> None:
        def fill(recorder: Recorder) -> None:
            write = recorder.invoke(1, "cas", key="x", value=[4, 5], client="c1", node="n1", level="all", revision=3)
            recorder.fault("kill", {"signal": 9}, "n2")
            get = recorder.invoke(2, "read", key="x", level="one", max_staleness_ms=50)
            recorder.ok(write, revision=8, version=2)
            recorder.observe("n1", {"term": 3, "role": "leader"})
            recorder.ok(get, value=5, revision=8, version=2, node="n3")

        found = read(tmp_path, recorded(fill))
        write, get = found.operations
        assert (write.i, write.t_ns, write.process, write.f, write.key, write.value) == (
            0,
            1_000,
            1,
            "cas",
            "x",
            [4, 5],
        )
        assert (write.client, write.node, write.level, write.asked_revision) == ("c1", "n1", "all", 3)
        assert (write.outcome, write.revision, write.version, write.ended, write.ended_ns) == ("ok", 8, 2, 3, 4_000)
        assert (get.shown, get.node, get.level, get.max_staleness_ms) == (5, "n3", "one", 50)
        assert [(fault.i, fault.f, fault.node, fault.value) for fault in found.faults] == [
            (1, "kill", "n2", {"signal": 9})
        ]
        assert [(seen.node, seen.view) for seen in found.observations] == [("n1", {"term": 3, "role": "leader"})]

    def test_a_key_that_is_not_text_survives(self, tmp_path: Path) -> None:
        key = b"\xff\x00a".decode("utf-8", "surrogateescape")
        data = recorded(lambda recorder: recorder.ok(recorder.invoke(1, "write", key=key, value=1)))
        assert b'"key_base64":"/wBh"' in data
        assert b'"key":' not in data
        assert read(tmp_path, data).operations[0].key == key
        again = [encode(msgspec.json.decode(raw, type=Line)) for raw in data.splitlines()]
        assert b"".join(again) == data

    def test_a_line_above_the_bound_is_refused_before_it_is_written(self) -> None:
        sink = io.BytesIO()
        with pytest.raises(ValueError, match="at most"):
            Recorder(sink).invoke(1, "write", value="x" * limits.HISTORY_LINE_BYTES_MAX)
        assert sink.getvalue() == b""

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        )
    )
    def test_any_json_is_a_value(self, value: Any) -> None:
        data = recorded(lambda recorder: recorder.ok(recorder.invoke(1, "add", value=value), value=value))
        pairing = Pairing()
        for raw in data.splitlines():
            pairing.add(msgspec.json.decode(raw, type=Line))
        assert pairing.history.operations[0].value == pairing.history.operations[0].shown == value


class TestPairing:
    def test_an_operation_without_an_answer_is_open_for_ever(self, tmp_path: Path) -> None:
        found = read(tmp_path, recorded(lambda recorder: recorder.invoke(1, "write", value=1)))
        assert (found.operations[0].outcome, found.operations[0].ended) == ("info", NEVER)

    def test_info_is_open_for_ever_and_its_process_may_go_on(self, tmp_path: Path) -> None:
        def fill(recorder: Recorder) -> None:
            recorder.info(recorder.invoke(1, "write", value=1), "timeout")
            recorder.ok(recorder.invoke(1, "write", value=2))

        first, second = read(tmp_path, recorded(fill)).operations
        assert (first.outcome, first.error, first.ended, first.answered) == ("info", "timeout", NEVER, 1)
        assert (second.outcome, second.ended) == ("ok", 3)

    @pytest.mark.parametrize("accepted", ["info", "ok"])
    def test_a_receipt_resolves_a_write_at_one(self, tmp_path: Path, accepted: str) -> None:
        def fill(recorder: Recorder) -> None:
            write = recorder.invoke(1, "write", value=1, level="one")
            getattr(recorder, accepted)(write)
            recorder.ok(write, revision=9)

        (write,) = read(tmp_path, recorded(fill)).operations
        assert (write.outcome, write.answered, write.ended, write.revision) == ("ok", 1, 2, 9)

    def test_a_write_at_one_that_was_superseded_failed(self, tmp_path: Path) -> None:
        def fill(recorder: Recorder) -> None:
            write = recorder.invoke(1, "write", value=1, level="one")
            recorder.ok(write)
            recorder.fail(write, "superseded")

        (write,) = read(tmp_path, recorded(fill)).operations
        assert (write.outcome, write.error) == ("fail", "superseded")
        assert not write.took_effect

    def test_a_write_at_one_without_its_receipt_is_of_unknown_outcome(self, tmp_path: Path) -> None:
        data = recorded(lambda recorder: recorder.ok(recorder.invoke(1, "write", value=1, level="one")))
        assert (read(tmp_path, data).operations[0].outcome) == "info"

    def test_reads_of_the_final_client(self, tmp_path: Path) -> None:
        def fill(recorder: Recorder) -> None:
            recorder.ok(recorder.invoke(1, "read", client="c1"), value=1)
            recorder.ok(recorder.invoke(2, "read", client="final", node="n1"), value=2)
            recorder.fail(recorder.invoke(2, "read", client="final", node="n1"), "timeout")

        assert [op.shown for op in read(tmp_path, recorded(fill)).final_reads()] == [2]


def line(**fields: Any) -> bytes:
    return msgspec.json.encode({"i": 0, "t_ns": 5, "process": 1, "type": "invoke", "f": "read", **fields}) + b"\n"


class TestBadFiles:
    @pytest.mark.parametrize(
        ("data", "where", "problem"),
        [
            (b"nonsense\n", 1, "JSON is malformed"),
            (line() + b"[]\n", 2, "Expected `object`"),
            (line() + line(i=1, type="ok") + b'{"i":2', 3, "truncated"),
            (line(i="0"), 1, "Expected `int`, got `str` - at `$.i`"),
            (line(process=True), 1, "$.process"),
            (b'{"i":0,"t_ns":5,"type":"invoke","f":"read"}\n', 1, "missing required field `process`"),
            (line(type="done"), 1, "Invalid enum value"),
            (line() + line(type="ok"), 2, "i is 0 after 0: it has to rise"),
            (line() + line(i=1, t_ns=4, type="ok"), 2, "time went back"),
            (line() + line(i=1), 2, "invokes again before read (i 0) was answered"),
            (line(type="ok"), 1, "no operation that 'ok' could end"),
            (line() + line(i=1, type="ok", f="write"), 2, "it ends write, but process 1 invoked read (i 0)"),
            (line(key="a") + line(i=1, type="ok", key="b"), 2, "invoked read"),
            (line() + line(i=1, type="info") + line(i=2, type="info"), 3, "unknown outcome already"),
            (line() + line(i=1, type="ok") + line(i=2, type="ok"), 3, "no operation"),
            (line(f="cas", value=5), 1, "the value of a cas is [old, new]"),
            (line(key="a", key_base64="YQ=="), 1, "not both"),
            (line(key_base64="%"), 1, "base64"),
            (line(process="observer", type="info", f="view", value=5, node="n1"), 1, "an observation needs"),
            (line() + b"\xff\n", 2, "JSON is malformed"),
        ],
    )
    def test_the_line_and_what_is_wrong_are_told(self, tmp_path: Path, data: bytes, where: int, problem: str) -> None:
        with pytest.raises(BadHistory) as failed:
            read(tmp_path, data)
        assert str(failed.value).startswith(f"{tmp_path / 'h'}:{where}: ")
        assert problem in str(failed.value)
        assert failed.value.exit_code == 7

    def test_a_line_without_end_is_not_read_into_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "HISTORY_LINE_BYTES_MAX", 1_000)
        with pytest.raises(BadHistory, match=":2: a line of more than 1,000 bytes"):
            read(tmp_path, line() + b"x" * 5_000)

    @pytest.mark.parametrize("data", [b"", b"\n\n", line(process="nemesis", type="info", f="kill")])
    def test_nothing_to_check_is_not_a_history(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(BadHistory, match="no operation in it"):
            read(tmp_path, data)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BadHistory, match="No such file"):
            read_history(tmp_path / "nothing")
        with pytest.raises(BadHistory, match="directory"):
            read_history(tmp_path)

    @pytest.mark.parametrize("compress", [gzip.compress, lz4.frame.compress])
    def test_compressed_files(self, tmp_path: Path, compress: Any) -> None:
        data = b"".join(line(i=2 * i) + line(i=2 * i + 1, type="ok", value=i) for i in range(5_000))
        whole = compress(data)
        assert len(read(tmp_path, whole).operations) == 5_000
        for damaged in (whole[: len(whole) // 2], whole[:-1], whole[:100] + b"\x00" * 50 + whole[150:]):
            with pytest.raises(BadHistory):
                read(tmp_path, damaged)


class TestForeignFormats:
    JEPSEN = b"""\
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.core - something else
INFO  jepsen.util - 1\t:invoke\t:cas\t[3 -1]
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - 1\t:fail\t:cas\t[3 -1]
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 2\t:invoke\t:write\t4
INFO  jepsen.util - 2\t:info\t:write\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
"""

    def test_jepsen(self, tmp_path: Path) -> None:
        found = read(tmp_path, self.JEPSEN, "jepsen")
        told = [(op.i, op.process, op.f, op.value, op.outcome, op.shown, op.error) for op in found.operations]
        assert told == [
            (1, 0, "read", None, "ok", None, None),
            (3, 1, "cas", [3, -1], "fail", [3, -1], "precondition_failed"),
            (7, 2, "write", 4, "info", None, "timed-out"),
            (9, 0, "read", None, "fail", None, "timed-out"),
        ]
        assert [(fault.i, fault.f) for fault in found.faults] == [(6, "start")]
        assert found.operations[0].t_ns is None

    PORCUPINE = b"""\
{:process 0, :type :invoke, :f :append, :key "0", :value "x \\"q\\\\ y"}
{:process 1, :type :invoke, :f :get, :key "0", :value nil}
{:process 0, :type :ok, :f :append, :key "0", :value "x \\"q\\\\ y"}
{:process 1, :type :ok, :f :get, :key "0", :value ""}
{:process 1, :type :invoke, :f :put, :key "1", :value ""}
{:process 0, :type :invoke, :f :append, :key "0", :value ""}
"""

    def test_porcupine(self, tmp_path: Path) -> None:
        found = read(tmp_path, self.PORCUPINE, "porcupine-kv")
        assert [(op.process, op.f, op.key, op.value, op.outcome, op.shown) for op in found.operations] == [
            (0, "append", "0", 'x "q\\ y', "ok", 'x "q\\ y'),
            (1, "read", "0", None, "ok", None),
            (1, "write", "1", None, "info", None),
            (0, "append", "0", "", "info", None),
        ]

    @pytest.mark.parametrize(
        ("form", "data", "problem"),
        [
            ("jepsen", b"0 :invoke :read nil\n", "not a line of Jepsen's"),
            ("jepsen", b"INFO jepsen.util - 0 :maybe :read nil\n", "not a line of Jepsen's"),
            ("jepsen", b"INFO jepsen.util - 0 :invoke :write {:a 1}\n", "cannot read the value"),
            ("jepsen", b"INFO jepsen.util - 0 :ok :read 1\n", "no operation"),
            ("jepsen", b"\xff\n", "can't decode"),
            ("porcupine-kv", b"{:process 0, :type :invoke\n", "not an EDN map"),
            ("porcupine-kv", b"{:process 0, :type :invoke, :f :get}\n", "there is no :key"),
            ("porcupine-kv", b'{:process 0, :type :invoke, :f :take, :key "0"}\n', "cannot use :f 'take'"),
            ("porcupine-kv", b'{:process nil, :type :invoke, :f :get, :key "0"}\n', "cannot use :type"),
            ("porcupine-kv", b'{:process 0, :type (invoke), :f :get, :key "0"}\n', "cannot read the map"),
        ],
    )
    def test_what_cannot_be_read_is_told(self, tmp_path: Path, form: str, data: bytes, problem: str) -> None:
        with pytest.raises(BadHistory) as failed:
            read(tmp_path, data, form)
        assert str(failed.value).startswith(f"{tmp_path / 'h'}:1: ")
        assert problem in str(failed.value)

    def test_every_format_is_offered(self) -> None:
        from kvcli.commands import chaos

        assert chaos._FORMATS == formats.FORMATS


def test_values_are_compared_as_json() -> None:
    different = [None, 0, 1, True, False, "1", 1.0, [], [1], [True], {}, {"a": 1}, ""]
    assert len({comparable(value) for value in different}) == len(different)
    assert comparable({"a": 1, "b": [2]}) == comparable({"b": [2], "a": 1})
