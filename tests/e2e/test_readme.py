"""The README's tour is true: it runs from top to bottom on real nodes, and ends with everything stopped."""

from pathlib import Path

from tests.support.pages import blocks, run_commands

# What sets up and what runs the tests has tests of its own: test_quickstart.py, and whoever reads this.
SET_UP = "./cluster/quickstart.sh"


def test_the_tour_runs_from_top_to_bottom(tmp_path: Path) -> None:
    texts = [block.text for block in blocks("README.md") if block.language == "sh" and block.reason is None]
    assert texts[0].startswith(SET_UP)
    (code,) = (block.text for block in blocks("README.md") if block.language == "python")
    texts.insert(texts.index(next(text for text in texts if "--level one" in text)), f"python - <<'EOF'\n{code}\nEOF")
    begun, written, locked, led, ran, alone, simulated, odds, drawn = run_commands(texts[1:], tmp_path)
    assert "n3 is ready" in begun
    assert "hello" in written
    assert "exit code 1" in written
    assert "my fencing token is" in locked
    assert "exit code 4: the first has it, the second gave up" in locked
    assert "which led, with SIGKILL" in led
    assert "still held" in led
    assert ran == "b'green'\n"
    assert "exit code 4" in alone
    assert "receipt n" in alone
    assert "words" in alone.partition("receipt n")[2]
    assert "failed           0" in simulated
    assert "0.9" in odds
    assert "0.9" in drawn
    assert (tmp_path / "odds.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "demo" / "n1").exists()
