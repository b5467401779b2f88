"""The report in a real browser: drawn without an error, its script run under its own policy, in light and dark."""

import re
import struct
import subprocess
from pathlib import Path

import pytest

from kvjepsen import report
from tests.support.chaos_runs import write_run
from tests.support.chromium import CHROMIUM, SANDBOX, needs_chromium

pytestmark = needs_chromium


def browse(page: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Without a network of its own: what the page needs has to be in it.
    options = [
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--proxy-server=127.0.0.1:9",
        "--enable-logging=stderr",
    ]
    command = [str(CHROMIUM), *options, *SANDBOX, f"--user-data-dir={profile}", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, timeout=120, check=True)


@pytest.mark.parametrize("kind", ["passing", "stale"])
def test_a_browser_shows_the_page(tmp_path: Path, kind: str) -> None:
    page = report.write(write_run(tmp_path, kind))
    done = browse(page, tmp_path / "profile", "--dump-dom")
    shown = done.stdout.decode()
    assert shown.count("<h2>") == (6 if kind == "stale" else 5)
    assert shown.count("<svg") == page.read_text(encoding="utf-8").count("<svg")
    # The script has run: its policy let it, and it put a cursor into each of the three pictures with the run's time.
    assert len(re.findall(r'class="cursor"', shown)) == 3
    assert b"CONSOLE" not in done.stderr, done.stderr.decode()


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_a_picture_of_it_is_not_blank(tmp_path: Path, scheme: int) -> None:
    page = report.write(write_run(tmp_path, "stale"))
    picture = tmp_path / "page.png"
    size = "--window-size=1280,3000"
    browse(
        page, tmp_path / "profile", f"--screenshot={picture}", size, f"--blink-settings=preferredColorScheme={scheme}"
    )
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1280, 3000)
    assert len(data) > 100_000, "an empty page of this size takes a tenth of that"
