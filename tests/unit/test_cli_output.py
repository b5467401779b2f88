"""What `kv` prints, how it ends, and how it reads its options; without a server."""

import asyncio
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import click
import pytest

from kvcli import exit_codes, main, output
from kvcli.exit_codes import Exit, explain
from kvcli.ndjson import decode_line, encode_line, read_lines
from kvcli.once import named
from kvcli.options import global_options, settings
from kvcli.output import Mode, printable
from kvcli.progress import Progress, human_bytes
from kvcli.sources import Item, Problem, Tree, from_ndjson
from kvstore import errors, limits
from kvstore.client import WriteResult
from kvstore.client.results import LeaseView
from kvstore.model.levels import Level
from tests.support.commands import environment

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "cli"


def kv(
    *arguments: str | bytes, env: dict[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kvcli.main", *arguments],
        env={**environment(), "COLUMNS": "100", **(env or {})},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def golden(name: str, text: str) -> None:
    """Compares with tests/golden/cli/NAME.txt; KV_GOLDEN=write writes it instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


class TestHelp:
    def test_starting_up_imports_only_what_is_used(self) -> None:
        code = (
            "import sys; from kvcli.main import run; code = run(sys.argv[1:]);"
            "print(code, sorted({'aiohttp','asyncio','numpy','rich','uvloop','msgspec'} & set(sys.modules)),"
            " file=sys.stderr)"
        )

        def loaded(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments],
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}", "KV_ENDPOINTS": "127.0.0.1:1"},
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stderr.splitlines()[-1]

        assert loaded("--help") == "0 []"
        assert loaded("put", "--help") == "0 []"
        assert loaded("odds", "--help") == "0 []"
        assert loaded("put", "k", "v") == "3 ['aiohttp', 'asyncio']"


class TestOptions:
    @staticmethod
    def resolve(*arguments: str, **env: str) -> tuple[object, ...]:
        seen: list[object] = []

        @click.group()
        @global_options
        def group() -> None: ...

        @group.command()
        @global_options
        def command() -> None:
            chosen = settings()
            seen.extend([chosen.endpoints, chosen.output, chosen.timeout_s])

        with pytest.MonkeyPatch.context() as patch:
            for name in ("KV_ENDPOINTS", "KV_OUTPUT", "KV_TIMEOUT", "KV_CACERT", "KV_CERT", "KV_KEY", "KV_CONFIG"):
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            group.main(list(arguments), standalone_mode=False)
        return tuple(seen)

    def test_defaults(self) -> None:
        assert self.resolve("command") == (("http://127.0.0.1:8480",), "simple", 5.0)

    def test_before_and_after_the_command(self) -> None:
        before = self.resolve("--endpoints", "a:1,b:2", "-o", "json", "--timeout", "2", "command")
        after = self.resolve("command", "--endpoints", "a:1,b:2", "-o", "json", "--timeout", "2")
        assert before == after == (("http://a:1", "http://b:2"), "json", 2.0)

    def test_the_one_nearest_to_the_command_wins(self) -> None:
        assert self.resolve("-o", "json", "command", "-o", "raw", KV_OUTPUT="table")[1] == "raw"

    def test_a_flag_before_the_command_wins_over_the_variable(self) -> None:
        assert self.resolve("-o", "json", "command", KV_OUTPUT="table")[1] == "json"

    def test_variables_win_over_defaults_and_empty_ones_do_not_count(self) -> None:
        assert self.resolve("command", KV_ENDPOINTS="a:1", KV_TIMEOUT="9", KV_OUTPUT="") == (
            ("http://a:1",),
            "simple",
            9.0,
        )

    @pytest.mark.parametrize(
        "flag", [["--timeout", "0"], ["-o", "xml"], ["--endpoints", "ftp://a"], ["--timeout", "nan"]]
    )
    def test_what_cannot_be_used_is_wrong_usage(self, flag: list[str]) -> None:
        with pytest.raises(click.BadParameter):
            self.resolve("command", *flag)

    def test_a_variable_that_cannot_be_used_is_named(self) -> None:
        with pytest.raises(click.UsageError, match="KV_TIMEOUT"):
            self.resolve("command", KV_TIMEOUT="soon")


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (["get", "k"], Exit.CANNOT_CONNECT, "Nothing was sent.\n    Is a node running there?"),
            (["put", "k", "v"], Exit.CANNOT_CONNECT, "Nothing was sent, so nothing was applied.\n    Is a node"),
            (["top", "--once"], Exit.CANNOT_CONNECT, "Nothing was sent.\n    Is a node running there?"),
            (["nonsense"], Exit.USAGE, "No such command"),
            ([], Exit.USAGE, "Usage: kv"),
            (["put", "k"], Exit.USAGE, "Missing argument 'VALUE'"),
            (["put", "k", "v", "--if-absent", "--if-revision", "1"], Exit.USAGE, "exclude each other"),
            (["put", "", "v"], Exit.INVALID, "the key is empty"),
            (["get", "k" * 4_097], Exit.INVALID, "4,097 bytes"),
            (["get", "k", "--limit", "1"], Exit.USAGE, "go with --prefix"),
            (["get", "k", "-o", "xml"], Exit.USAGE, "not one of simple, table, json, raw"),
            (["import"], Exit.USAGE, "one of them"),
            (["import", "-", "--prefix", "x"], Exit.USAGE, "go with --tree"),
            (["export", "/nowhere/file"], Exit.INTERNAL, "No such file or directory"),
            (["put", "k", "v", "--level", "one", "--if-absent"], Exit.USAGE, "takes no condition"),
            (["delete", "k", "--level", "one", "--if-revision", "1"], Exit.USAGE, "takes no condition"),
            (["put", "k", "v", "--idempotency-key", ""], Exit.INVALID, "an idempotency key has 1 to 256 bytes"),
            (["get", "k", "--max-staleness-ms", "5"], Exit.USAGE, "goes with --level one"),
            (["get", "k", "--prefix", "--level", "all"], Exit.USAGE, "go with a single key"),
            (["get", "k", "--prefix", "--min-revision", "1"], Exit.USAGE, "go with a single key"),
            (["receipt", "n1.e1.1"], Exit.CANNOT_CONNECT, "Nothing was sent"),
            (["receipt"], Exit.USAGE, "Missing argument 'ID'"),
            (["serve", "--heartbeat-ms", "200"], Exit.USAGE, "election_ms_min"),
        ],
    )
    def test_exit_code_and_message(self, arguments: list[str], code: int, says: str) -> None:
        done = kv(*arguments, env={"KV_ENDPOINTS": "127.0.0.1:1", "KV_TIMEOUT": "1"})
        assert (done.returncode, done.stdout) == (code, b"")
        assert says in done.stderr.decode()
        assert "Traceback" not in done.stderr.decode()

    def test_a_value_above_the_limit_on_standard_input(self) -> None:
        done = kv("put", "k", "-", stdin=bytes(limits.VALUE_BYTES_MAX + 1), env={"KV_ENDPOINTS": "127.0.0.1:1"})
        assert done.returncode == Exit.INVALID
        assert b"1,048,577 bytes" in done.stderr

    def test_a_fault_of_ours_never_looks_like_an_absent_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object, **__: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(main.cli, "make_context", fails)
        assert main.run(["get", "k"]) == Exit.INTERNAL

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(main.cli, "make_context", interrupted)
        assert main.run(["put", "k", "v"]) == Exit.INTERRUPTED
        assert "may have taken effect" in capsys.readouterr().err

    def test_every_error_has_its_code(self) -> None:
        for error in (errors.NotFound("x"), errors.NoQuorum("x"), errors.DeadlineExceeded("x"), errors.TooLarge("x")):
            assert exit_codes.exit_code(error) == type(error).exit_code
            assert Exit(exit_codes.exit_code(error))

    def test_the_reader_of_the_output_may_leave(self) -> None:
        arguments = [sys.executable, "-m", "kvcli.main", "--help"]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(arguments, env=env, stdout=write, stderr=subprocess.PIPE, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (Exit.READER_GONE, b"")


E = TypeVar("E", errors.KvError, errors.LocalError)


def told(error: E, level: str = "quorum") -> E:
    """`error`, as it leaves a command that writes."""
    with pytest.raises(type(error)), named(b"a key", level, "order-66"):
        raise error
    return error


def test_an_interrupted_write_says_how_to_find_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvcli.commands.put.run_with_client", interrupted)
    assert main.run(["put", "k", "v", "--idempotency-key", "order 66"]) == Exit.INTERRUPTED
    said = capsys.readouterr().err
    assert "To find out: kv get k; or repeat the command with --idempotency-key 'order 66'" in said


def test_each_call_has_an_idempotency_key_of_its_own() -> None:
    with named(b"k", "quorum", None) as first, named(b"k", "quorum", None) as second:
        assert len(first) == len(second) == 32
        assert first != second


def test_messages() -> None:
    """Each says what happened, whether it took effect, and what to do."""
    samples: list[errors.KvError | errors.LocalError] = [
        errors.CannotConnect("http://127.0.0.1:8480: connection refused"),
        errors.ConnectionLost("http://127.0.0.1:8480: connection reset by peer"),
        errors.DeadlineExceeded("http://127.0.0.1:8480 gave no answer before the deadline"),
        errors.DeadlineExceeded("no endpoint answered before the deadline", read=True),
        errors.DeadlineExceeded("not every voter confirmed", outcome="committed", missing=("n2", "n3")),
        errors.NoQuorum("1 of 3 voters is reachable"),
        errors.NoLeader("an election is under way", read=True),
        errors.MembersUnreachable("n3 is unreachable", missing=("n3",)),
        errors.Overloaded("too many writes wait", retry_after_s=2.0),
        errors.StorageFull("a majority lacks room"),
        errors.PreconditionFailed("the key has mod_revision 7"),
        errors.NotFound("the key is absent"),
        errors.TooLarge("the value has 1,048,577 bytes"),
        errors.BadRequest("the key is empty"),
        errors.InternalError("something is wrong"),
        errors.IdempotencyConflict("another request was sent under this idempotency key before"),
        errors.IdempotencyExpired("the session has expired"),
        errors.NotAVoter("n4 is no voter: its disk alone would promise nothing"),
        errors.Divergence("n1 and n2 hold different values", read=True),
        told(errors.DeadlineExceeded("the write was not committed in time")),
        told(errors.ConnectionLost("http://127.0.0.1:8480: connection reset by peer"), level="one"),
        told(errors.DeadlineExceeded("not known to be on n3", outcome="committed", missing=("n3",)), level="all"),
        told(errors.NoQuorum("1 of 3 voters is reachable")),
        told(errors.CannotConnect("http://127.0.0.1:8480: connection refused")),
        errors.CorruptData("n1/journal/1.log", 4096, "a checksum is wrong", "Restore the node from the others."),
    ]
    golden("messages", "".join(f"{exit_codes.exit_code(error)} kv: {explain(error)}\n" for error in samples))


@pytest.mark.parametrize("error", [errors.NoQuorum, errors.MembersUnreachable])
def test_where_too_few_can_be_reached_it_is_not_the_moment_that_helps(error: type[errors.KvError]) -> None:
    assert explain(error("2 of 3 voters cannot be reached")).endswith("reached. Nothing was applied.")
    assert explain(error("2 of 3 voters cannot be reached", read=True, retry_after_s=1.0)).endswith("be reached.")


def test_a_lock_that_is_lost_and_a_vacuous_run_are_among_the_exit_codes() -> None:
    assert errors.LeaseLost.exit_code == Exit.UNKNOWN
    assert "lock" in exit_codes.MEANINGS[Exit.UNKNOWN]
    assert "vacuous" in exit_codes.MEANINGS[Exit.UNKNOWN]


def test_a_write_says_how_many_were_needed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for acked in (2, 3):
        output.write_write(WriteResult(b"k", 7, 1, Level.QUORUM, 2, acked, "committed", None), Mode.SIMPLE)
    output.flush()
    assert capfdbinary.readouterr().out.decode() == (
        "revision 7, level quorum, acknowledged by 2 (2 needed)\n"
        "revision 7, level quorum, acknowledged by 3 (2 needed)\n"
    )


@pytest.mark.parametrize(("keys", "said"), [([], "0 keys"), ([b"a"], "1 key"), ([b"a", b"b"], "2 keys")])
def test_keys_of_a_lease_are_counted_in_words(
    keys: list[bytes], said: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("kvcli.commands.lease.run_with_client", lambda _: LeaseView(7, 10.0, 9.5, keys))
    assert main.run(["lease", "show", "7"]) == Exit.OK
    assert capfdbinary.readouterr().out.decode().splitlines()[0] == f"9.5 s of 10 s are left; {said}"
    monkeypatch.setattr("kvcli.commands.lease.run_with_client", lambda _: len(keys))
    assert main.run(["lease", "revoke", "7"]) == Exit.OK
    assert capfdbinary.readouterr().out.decode() == f"revoked; {said} went with it\n"


class TestValues:
    @pytest.mark.parametrize(
        ("data", "shown"),
        [(b"plain", "plain"), (b"\xff\n", "\\xff\\n"), ("Tür\t".encode(), "Tür\\t"), (b"\x1b[31m", "\\x1b[31m")],
    )
    def test_nothing_unprintable_leaves_as_it_is(self, data: bytes, shown: str) -> None:
        assert printable(data) == shown

    def test_long_values_are_cut(self) -> None:
        assert printable(b"x" * 100, 10) == "xxxxxxxxx…"
        assert printable(b"x" * 10, 10) == "x" * 10

    @pytest.mark.parametrize(
        ("terminal", "mode", "printed"),
        [
            (True, Mode.SIMPLE, b"v\n"),
            (True, Mode.RAW, b"v"),
            (False, Mode.SIMPLE, b"v"),
            (False, Mode.RAW, b"v"),
        ],
    )
    def test_a_line_end_is_added_on_a_terminal_only(
        self, monkeypatch: pytest.MonkeyPatch, terminal: bool, mode: Mode, printed: bytes
    ) -> None:
        stdout = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(stdout, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stdout", stdout)
        output.write_value(b"v", mode)
        assert stdout.buffer.getvalue() == printed

    def test_sizes(self) -> None:
        assert [human_bytes(size) for size in (0, 1_023, 1_536, 5 << 20, 3 << 30)] == [
            "0 B",
            "1023 B",
            "1.5 KiB",
            "5.0 MiB",
            "3.0 GiB",
        ]

    def test_progress_off_a_terminal_is_a_line_now_and_then(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = 0.0
        monkeypatch.setattr("kvcli.progress.time.monotonic", lambda: now)
        with Progress("imported", 1_000) as progress:
            for _ in range(600):
                now += 1 / 64
                progress.advance(10)
        assert capsys.readouterr().err == "kv: imported 320 of 1,000 keys, 3.1 KiB, 5 s\n"


class TestNdjson:
    @pytest.mark.parametrize(
        "data", [b"", b"text", b"\xff\xfe", b"\x00" * 100, "Tür\n".encode(), bytes(range(256)) * 8]
    )
    def test_lines_come_back(self, data: bytes) -> None:
        line = encode_line(data or b"k", data)
        assert line.count(b"\n") == 1
        assert decode_line(line) == (data or b"k", data)

    @pytest.mark.parametrize("value", [b"\x00", b"\n", b"\xff", b"x", b"\\"])
    def test_every_line_of_an_export_can_be_imported(self, value: bytes) -> None:
        line = encode_line(b"\x01" * limits.KEY_BYTES_MAX, value * limits.VALUE_BYTES_MAX)
        assert len(line) <= limits.IMPORT_LINE_BYTES_MAX

    def test_text_stays_readable(self) -> None:
        assert encode_line(b"k", b'say "hi"\n') == b'{"key": "k", "value": "say \\"hi\\"\\n"}\n'

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b'{"key":"k"}', 'give "value" or "value_base64"'),
            (b'{"key":"k","key_base64":"aw==","value":"v"}', 'give "key" or "key_base64"'),
            (b'{"key":1,"value":"v"}', '"key" must be a string'),
            (b'{"key":"k","value_base64":"%%%"}', '"value" cannot be decoded'),
            (b'{"key":"\\ud800","value":"v"}', '"key" cannot be decoded'),
        ],
    )
    def test_bad_lines_say_what_is_wrong(self, line: bytes, problem: str) -> None:
        with pytest.raises(ValueError, match=re.escape(problem)):
            decode_line(line)

    async def test_bad_lines_are_told_with_their_number_and_the_rest_is_read(self) -> None:
        source = io.BytesIO(b'{"key":"a","value":"1"}\n\nnonsense\n{"key":"","value":"1"}\n{"key":"b","value":"2"}')
        found = [item async for item in from_ndjson(source, "f")]
        assert [item.where for item in found] == ["f:1", "f:3", "f:4", "f:5"]
        assert [isinstance(item, Item) for item in found] == [True, False, False, True]

    async def test_a_line_without_end_is_not_read_into_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "IMPORT_LINE_BYTES_MAX", 1_000)
        source = io.BytesIO(b'{"key":"a","value":"1"}\n' + b"x" * 5_000 + b'\n{"key":"b","value":"2"}\n')
        found = [item async for item in from_ndjson(source, "f")]
        assert isinstance(found[0], Item)
        assert isinstance(found[1], Problem)
        assert (len(found), found[1].where, found[1].by_rule) == (2, "f:2", False)

    async def test_a_pipe_is_read_without_holding_up_the_loop(self) -> None:
        read, write = os.pipe()
        turns = 0
        with open(read, "rb") as source, open(write, "wb", buffering=0) as sink:

            async def slow_writer() -> None:
                nonlocal turns
                for part in (b"one\nt", b"wo\n", b"three"):
                    await asyncio.sleep(0.01)
                    turns += 1
                    sink.write(part)
                sink.close()

            writing = asyncio.create_task(slow_writer())
            assert [line async for line in read_lines(source)] == [b"one\n", b"two\n", b"three"]
            await writing
        assert turns == 3


class TestTree:
    @staticmethod
    async def items(tree: Tree, prefix: bytes = b"p/") -> tuple[dict[bytes, bytes], list[Problem]]:
        found = [item async for item in tree.items(prefix)]
        values = {item.key: item.value for item in found if isinstance(item, Item)}
        return values, [item for item in found if isinstance(item, Problem)]

    async def test_every_file_becomes_a_key(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x.py").write_bytes(b"\x00x")
        (tmp_path / "y.txt").write_bytes(b"")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"z")
        values, problems = await self.items(Tree(str(tmp_path), (), False))
        assert values == {b"p/a/x.py": b"\x00x", b"p/y.txt": b"", b"p/\xff": b"z"}
        assert problems == []

    async def test_include_takes_names_and_relative_paths(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        for name in ("a/x.py", "a/y.txt", "z.py"):
            (tmp_path / name).write_bytes(b"")
        assert set((await self.items(Tree(str(tmp_path), ("*.py",), False)))[0]) == {b"p/a/x.py", b"p/z.py"}
        assert set((await self.items(Tree(str(tmp_path), ("a/*",), False)))[0]) == {b"p/a/x.py", b"p/a/y.txt"}

    async def test_links_are_skipped_and_told(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"1")
        (tmp_path / "link").symlink_to("real")
        (tmp_path / "loop").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        values, problems = await self.items(Tree(str(tmp_path), (), False))
        assert values == {b"p/real": b"1"}
        assert [(Path(p.where).name, p.by_rule) for p in problems] == [("link", True), ("loop", True), ("pipe", True)]

    @pytest.mark.parametrize("allowed", [False, True])
    async def test_a_file_above_the_limit_is_a_failure_unless_it_may_be_skipped(
        self, tmp_path: Path, allowed: bool
    ) -> None:
        (tmp_path / "big").write_bytes(bytes(limits.VALUE_BYTES_MAX + 1))
        values, problems = await self.items(Tree(str(tmp_path), (), allowed))
        assert values == {}
        assert [problem.by_rule for problem in problems] == [allowed]
