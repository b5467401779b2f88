"""The measurement of encryption runs, with little to do."""

from click.testing import CliRunner

from tests.bench.encryption import main


def test_both_are_measured(tmp_path: object) -> None:
    done = CliRunner().invoke(main, ["--directory", str(tmp_path), "--rounds", "3", "--frames", "1"])
    assert done.exit_code == 0, done.output
    rows = [line for line in done.output.splitlines() if " us |" in line or " s |" in line]
    assert len(rows) == 10
