"""A command that runs while something is held."""

import asyncio
import os
import signal
from typing import Any

import pytest

from kvcli.child import run_while_held


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_command_that_is_begun_while_we_are_told_to_end_does_not_outlive_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = asyncio.create_subprocess_exec

    async def late(*command: str, **options: Any) -> asyncio.subprocess.Process:
        child = await begin(*command, **options)
        os.kill(os.getpid(), signal.SIGTERM)  # the child runs, and nobody has it in hand yet
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", late)
    before = signal.getsignal(signal.SIGTERM)
    code = await asyncio.wait_for(run_while_held(["sleep", "600"], {}, never, "the lock"), 20)
    assert code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before  # giving back what was held is interrupted as ever


async def test_what_is_lost_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    async def at_once() -> None:
        return

    assert await asyncio.wait_for(run_while_held(["sleep", "600"], {}, at_once, "the lock"), 20) == 5
    assert "the lock is lost; ending sleep" in capfd.readouterr().err


async def test_the_code_of_the_command_is_passed_on() -> None:
    assert await run_while_held(["sh", "-c", 'exit "$CODE"'], {"CODE": "7"}, never, "the lock") == 7
