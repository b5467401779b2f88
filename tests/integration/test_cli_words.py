"""Completion as shells ask for it, and `kv shell` as people and scripts use it, against the HTTP door with a store in
memory.
"""

import asyncio
import os
import pty
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from kvcli.exit_codes import Exit
from kvstore.client import AsyncClient
from kvstore.http.app import HttpServer
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.commands import with_kv

PATIENCE_S = 60.0


class Programs:
    """Starts programs in an environment in which `kv` is the one of this source tree, at the server."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self.env = {
            **with_kv(directory),
            "KV_ENDPOINTS": endpoint,
            "XDG_STATE_HOME": str(directory / "state"),
            "TERM": "xterm",
        }

    async def __call__(self, *words: str, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self.env, **env},
        )
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Programs]:
    server = HttpServer(MemoryStore(), Metrics(), listen=("127.0.0.1", 0))
    await server.start()
    host, port = server.address
    programs = Programs(f"http://{host}:{port}", tmp_path)
    async with AsyncClient([f"http://{host}:{port}"]) as client:
        for key in (b"config/a", b"config/b", b"other"):
            await client.put(key, b"1")
    yield programs
    await server.close()


@pytest.mark.parametrize(
    ("shell", "answer"),
    [
        ("bash", ["plain,config/a", "plain,config/b"]),
        ("zsh", ["plain", "config/a", "_", "plain", "config/b", "_"]),
        ("fish", ["plain,config/a", "plain,config/b"]),
    ],
)
async def test_the_answer_is_in_the_form_of_each_shell(run: Programs, shell: str, answer: list[str]) -> None:
    words = {"COMP_WORDS": "kv get con", "COMP_CWORD": "con" if shell == "fish" else "2"}
    code, out, err = await run("kv", _KV_COMPLETE=f"{shell}_complete", **words)
    assert (code, err) == (Exit.OK, "")
    assert [line for line in out.splitlines() if line] == answer


async def test_a_dead_cluster_completes_nothing_and_says_nothing(run: Programs) -> None:
    words = {"COMP_WORDS": "kv get con", "COMP_CWORD": "2", "KV_ENDPOINTS": "http://127.0.0.1:1"}
    code, out, err = await run("kv", _KV_COMPLETE="bash_complete", **words)
    assert (code, out.strip(), err) == (Exit.OK, "", "")


async def test_no_password_is_asked_for(run: Programs) -> None:
    words = {"COMP_WORDS": "kv get con", "COMP_CWORD": "2", "KV_USER": "alice"}
    code, out, err = await run("kv", _KV_COMPLETE="bash_complete", **words)
    assert (code, err) == (Exit.OK, "")
    assert "config/a" in out  # auth is not enabled here: who asks without a name may read


BASH = """
eval "$(kv completion bash)"
COMP_WORDS=(kv {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _kv_completion kv; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(("words", "offered"), [("get con", "config/a\nconfig/b"), ("lease gr", "grant")])
async def test_in_bash(run: Programs, words: str, offered: str) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    code, out, err = await run("bash", "--norc", "-c", BASH.format(words=words))
    assert (code, out.strip(), err) == (0, offered, "")


async def test_the_script_for_zsh_can_be_read_by_it(run: Programs) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    code, _, err = await run("zsh", "-f", "-c", 'autoload -Uz compinit; compinit -D; eval "$(kv completion zsh)"')
    assert (code, err) == (0, "")


async def test_the_script_for_fish_can_be_read_by_it(run: Programs) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    code, out, _ = await run("fish", "-N", "-c", "kv completion fish | source; complete -C 'kv get con'")
    assert code == 0
    assert "config/a" in out


async def test_a_script_stops_at_the_first_line_that_fails(run: Programs) -> None:
    lines = b'put k "a b"\nget k\nget nothing\nput never here\n'
    code, out, err = await run("kv", "shell", stdin=lines)
    assert code == Exit.ABSENT
    assert out.splitlines()[1] == "a b"
    assert "line 3 ended with exit code 1: stopped there" in err
    assert (await run("kv", "get", "never"))[0] == Exit.ABSENT
    assert (await run("kv", "shell", stdin=b".continue on\n" + lines))[0] == Exit.ABSENT
    assert (await run("kv", "get", "never"))[0] == Exit.OK


async def test_a_shell_on_a_terminal(run: Programs, tmp_path: Path) -> None:
    """Completes a key with Tab, keeps what may be kept, leaves with Ctrl-D."""
    pytest.importorskip("prompt_toolkit")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        "kv", "shell", stdin=theirs, stdout=theirs, stderr=theirs, env={**run.env, "NO_COLOR": "1"}
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = bytearray()
    loop, more = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        try:
            seen.extend(os.read(ours, 65_536))
        except OSError:  # the other side is closed
            loop.remove_reader(ours)
        if b"\x1b[6n" in seen:
            os.write(ours, b"\x1b[1;1R")  # where the cursor is, which it asks a terminal
            seen[:] = seen.replace(b"\x1b[6n", b"")
        more.set()

    async def until(text: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while text not in seen:
                more.clear()
                await more.wait()
        del seen[: seen.index(text) + len(text)]

    loop.add_reader(ours, read)
    try:
        await until(b"kv>")
        os.write(ours, b"put greeting hello\r")
        await until(b"acknowledged by")
        await until(b"kv>")
        os.write(ours, b"get gree\t")
        await until(b"ting")
        os.write(ours, b"\r")
        await until(b"hello")
        await until(b"kv>")
        os.write(ours, b"put secret/x 1\r")
        await until(b"acknowledged by")
        await until(b"kv>")
        os.write(ours, b"half a li\x03")
        await until(b"kv>")
        # The prompt that was seen may be the old one, drawn again: on its line Ctrl-D does nothing, so it comes again.
        ended = asyncio.ensure_future(process.wait())
        async with asyncio.timeout(PATIENCE_S):
            while not ended.done():
                with suppress(OSError):  # it has just ended
                    os.write(ours, b"\x04")
                await asyncio.wait({ended}, timeout=0.5)
        assert ended.result() == Exit.OK
    finally:
        loop.remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    kept = (tmp_path / "state" / "kv" / "history").read_text()
    assert "+put greeting hello" in kept
    assert "secret" not in kept
    assert "half" not in kept
