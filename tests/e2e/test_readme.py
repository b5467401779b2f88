"""The README's tour is true: it runs from top to bottom on real nodes, and ends with everything stopped."""

from pathlib import Path

from tests.support.pages import blocks, run_commands

# What sets up and what runs the tests has tests of its own: test_quickstart.py, and whoever reads this.
SET_UP = "./cluster/quickstart.sh"


def test_the_tour_runs_from_top_to_bottom(tmp_path: Path) -> None:
    texts = [block.text for block in blocks("README.md") if block.language == "sh" and block.reason is None]
    assert texts[0].startswith(SET_UP)
    begun, written, locked, led, alone, simulated, odds = run_commands(texts[1:], tmp_path)
    assert "n3 is ready" in begun
    assert "hello" in written
    assert "exit code 1" in written
    assert "my fencing token is" in locked
    assert "revision 5" in led
    assert "exit code 4" in alone
    assert "receipt n" in alone
    assert "words" in alone.partition("receipt n")[2]
    assert "failed           0" in simulated
    assert "0.9" in odds
    assert (tmp_path / "odds.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "demo" / "n1").exists()
