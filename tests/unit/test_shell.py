"""`kv shell`, without a cluster: what a line is, what is remembered of it, how a script ends."""

import importlib
import io
import os
import stat
import sys
from pathlib import Path

import pytest

from kvcli import main
from kvcli.exit_codes import Exit
from kvcli.output import Mode
from kvcli.shell import history
from kvcli.shell.script import run_script
from kvcli.shell.session import Leave, Session, here_document
from kvcli.shell.words import complete
from kvstore import limits
from kvstore.errors import LocalError


@pytest.fixture
def session() -> Session:
    return Session([], ("http://127.0.0.1:1",))


class Script:
    """Runs lines, with the commands replaced: `false` fails with 4, everything else succeeds."""

    def __init__(self, session: Session, patch: pytest.MonkeyPatch) -> None:
        self.session = session
        self.ran: list[list[str]] = []
        self.read: list[bytes] = []
        self.levels: list[object] = []
        patch.setattr(main, "run", self._run)

    def _run(self, arguments: list[str], default_map: object) -> int:
        words = list(arguments)[2:]  # without --endpoints
        self.ran.append(words)
        self.levels.append(default_map)
        self.read.append(sys.stdin.buffer.read())
        return 4 if words[-1] == "false" else 0

    def __call__(self, text: str) -> int:
        return run_script(self.session, io.BytesIO(text.encode()))


@pytest.fixture
def script(session: Session, monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(session, monkeypatch)


class TestScripts:
    def test_words_are_those_of_a_shell(self, script: Script) -> None:
        assert script("put 'a b' \"c d\"\n\n# nothing\nkv get 'a b'  # read it\n") == Exit.OK
        assert script.ran == [["put", "a b", "c d"], ["get", "a b"]]

    def test_the_first_line_that_fails_ends_it(self, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
        assert script("get a\nget false\nget b\n") == 4
        assert len(script.ran) == 2
        assert "line 2 ended with exit code 4" in capsys.readouterr().err

    def test_it_goes_on_if_that_is_wanted_and_ends_as_the_first_that_failed(self, script: Script) -> None:
        assert script(".continue on\nget false\nnonsense 'quote\nget b\n") == 4
        assert script.ran[-1] == ["get", "b"]

    def test_commands_do_not_read_the_script(self, script: Script) -> None:
        assert script("put k -\nget k\n") == Exit.OK
        assert script.read == [b"", b""]

    def test_what_a_command_reads_stands_between_lines(self, script: Script) -> None:
        assert script("txn <<END\nvalue('a') = 'b'\n\nEND\nget k\n") == Exit.OK
        assert script.ran == [["txn"], ["get", "k"]]
        assert script.read[0] == b"value('a') = 'b'\n\n"

    def test_leaving_ends_it(self, script: Script) -> None:
        assert script("get a\n.exit\nget b\n") == Exit.OK
        assert len(script.ran) == 1

    def test_a_line_without_end_is_not_read_into_memory(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "SHELL_LINE_BYTES_MAX", 100)
        assert script("get a\nput k " + "x" * 500) == Exit.INVALID
        assert len(script.ran) == 1

    def test_a_quote_that_is_not_closed(self, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
        assert script("get 'a\n") == Exit.USAGE
        assert "quote as in a shell" in capsys.readouterr().err


class TestDots:
    def test_the_level_goes_to_commands_that_take_it(self, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
        script(".level one\nget k\nlease list\ntxn\nbench put\n.level default\nget k\n")
        assert script.levels == [
            {"get": {"level": "one"}},
            {},
            {},
            {"bench": {"put": {"level": "one"}}},
            {},
        ]
        assert "txn knows no level one" in capsys.readouterr().err

    def test_output_and_endpoints_stand_before_the_command(self, session: Session) -> None:
        session.run(".output json")
        session.run(".endpoints a:1,b:2")
        assert session.arguments() == ["--endpoints", "http://a:1,http://b:2", "-o", Mode.JSON]

    def test_timing(self, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
        script(".timing on\nget k\n")
        assert " ms\n" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (".levle one", "Did you mean '.level'?"),
            (".level onne", "Did you mean 'one'?"),
            (".output jsn", "Did you mean 'json'?"),
            (".timing maybe", "one of on, off"),
            (".endpoints ftp://x", "not an endpoint"),
            ("shell", "this is a shell already"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, line: str, says: str, session: Session, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert session.run(line) == Exit.USAGE
        assert says in capsys.readouterr().err

    def test_help_lists_all_of_them(self, session: Session, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
        assert session.run(".help") == Exit.OK
        shown = capsysbinary.readouterr().out.decode()
        assert all(name in shown for name in session.dots)

    @pytest.mark.parametrize("line", [".exit", "exit", "quit"])
    def test_leaving(self, line: str, session: Session) -> None:
        with pytest.raises(Leave):
            session.run(line)

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            ("txn <<END", ("txn", "END")),
            ("txn --level all << X", ("txn --level all", "X")),
            ("put k <<", None),
            ("put k '<< a b'", None),
            ("<<END", None),
        ],
    )
    def test_here_documents(self, line: str, found: object) -> None:
        assert here_document(line) == found


class TestHistory:
    @pytest.mark.parametrize(
        ("line", "kept"),
        [
            ("put a b", True),
            (" put a b", False),
            ("", False),
            ("user add x --new-password-file y", False),
            ("token --user root", False),
            ("put app/SECRET x", False),
        ],
    )
    def test_which_lines_are_kept(self, line: str, kept: bool) -> None:
        assert history.worth_keeping(line) is kept

    def test_its_file_is_its_owners_only_and_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr(limits, "SHELL_HISTORY_LINES_MAX", 3)
        file = history.path()
        assert file == tmp_path / "kv" / "history"
        file.parent.mkdir()
        file.write_text("+1\n+2\n+3\n+4\n")
        file.chmod(0o644)
        history.prepare(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == "+3\n+4\n"

    def test_a_relative_place_is_not_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "somewhere")
        assert history.path() == Path.home() / ".local/state/kv/history"


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "offered"),
        [
            ("mem", ["member"]),
            ("kv mem", ["member"]),
            ("lease keep", ["keep-alive"]),
            ("get k --level q", ["quorum"]),
            ("get k -o j", ["json"]),
            (".lev", [".level"]),
            (".level ", ["one", "quorum", "all", "default"]),
            (".output ra", ["raw"]),
            ("put 'not closed", []),
            (".exit now", []),
        ],
    )
    def test_what_is_offered(self, line: str, offered: list[str], session: Session) -> None:
        assert [item.value for item in complete(session, line)[1]] == offered

    def test_a_cluster_that_does_not_answer_offers_nothing_and_says_nothing(
        self, session: Session, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert complete(session, "get ")[1] == []
        assert capsys.readouterr() == ("", "")


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    monkeypatch.delitem(sys.modules, "kvcli.shell.typed", raising=False)
    with pytest.raises(LocalError, match=r"kvstore\[shell\]', or pip install -e '\.\[shell\]' in a checkout\. "):
        importlib.import_module("kvcli.shell.typed")


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    from kvcli import output

    monkeypatch.setattr("sys.stdout", os.fdopen(os.dup(1), "w"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not output.colourless()
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.colourless()
