"""`kv odds`: what it prints in each mode, what it refuses, what it draws."""

import io
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from kvcli import main
from kvcli.commands.odds import _chance, duration
from tests.support.exact_odds import chance_that, is_served

GOLDEN = Path(__file__).parents[1] / "golden" / "cli" / "odds.txt"
KEYS = ["n", "majority", "documented", "raft", "one", "quorum", "all", "nines", "downtime_s_per_year", "even_warning"]
YEAR_S = 365.25 * 24 * 3_600


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KV_") and name != "KV_GOLDEN"]:
        monkeypatch.delenv(name)


def kv(*arguments: str) -> tuple[int, str, str]:
    """Runs `kv odds` in this process: exit code, standard output, standard error."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    try:
        code = main.run(["odds", *arguments])
        return code, sys.stdout.buffer.getvalue().decode(), sys.stderr.getvalue()
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def test_what_it_prints_in_each_mode() -> None:
    shown = []
    for arguments in (
        "--nodes 1-9 --p 0.01",
        "--nodes 1-9 --p 0.01 -o table",
        "--nodes 3,4 --p 0.1 -o json",
        "--nodes 2,3 --p 0 -o raw",
        "--nodes 1-3,99 --p 30% --target 99.9%",
    ):
        code, out, err = kv(*arguments.split())
        assert code == 0
        if out.startswith("{"):
            assert out == json.dumps(json.loads(out)) + "\n"
            # The last digits of powers and logarithms are the processor's.
            out = json.dumps(json.loads(out, parse_float=lambda text: float(f"{float(text):.12g}"))) + "\n"
        shown.append(f"$ kv odds {arguments}\n{out}{err}\n")
    if os.environ.get("KV_GOLDEN") == "write":
        GOLDEN.write_text("".join(shown), encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == "".join(shown)


def test_the_document_has_the_exact_odds() -> None:
    code, out, err = kv("--nodes", "1-6", "--p", "0.125", "-o", "json")
    document = json.loads(out)
    assert (code, err, list(document), document["p"]) == (0, "", ["p", "rows"], 0.125)
    assert [row["n"] for row in document["rows"]] == [1, 2, 3, 4, 5, 6]
    assert [row["even_warning"] for row in document["rows"]] == [False, True] * 3
    for row in document["rows"]:
        assert list(row) == KEYS
        exact = {
            level: chance_that(is_served(level, False), row["n"], Fraction(1, 8)) for level in ("one", "quorum", "all")
        }
        exact["raft"] = exact["quorum"]
        exact["documented"] = 1 - chance_that(lambda up: 2 * up.count(False) > len(up), row["n"], Fraction(1, 8))
        assert set(row["nines"]) == set(row["downtime_s_per_year"]) == set(exact)
        for name, chance in exact.items():
            assert row[name] == pytest.approx(float(chance), rel=1e-14)
            assert 10 ** -row["nines"][name] == pytest.approx(float(1 - chance), rel=1e-12)
            assert row["downtime_s_per_year"][name] == pytest.approx(float(1 - chance) * YEAR_S, rel=1e-12)


def test_what_is_never_lost_has_no_nines() -> None:
    (row,) = json.loads(kv("--nodes", "3", "--p", "0", "-o", "json")[1])["rows"]
    assert set(row["nines"].values()) == {None}
    assert set(row["downtime_s_per_year"].values()) == {0}


@pytest.mark.parametrize("mode", ["simple", "table"])
@pytest.mark.parametrize("p", ["1e-12", "1e-3", "0.01", "0.5", "0.999", "1"])
def test_lines_fit_into_eighty_columns(mode: str, p: str) -> None:
    code, out, _ = kv("--nodes", "1-20,97-101,998-999", "--p", p, "-o", mode)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("given", "nodes"),
    [("3", [3]), ("1-4", [1, 2, 3, 4]), ("7,3,5", [3, 5, 7]), ("1-3,2-4, 9", [1, 2, 3, 4, 9]), ("5-5", [5])],
)
def test_nodes(given: str, nodes: list[int]) -> None:
    rows = json.loads(kv("--nodes", given, "-o", "json")[1])["rows"]
    assert [row["n"] for row in rows] == nodes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodes", "0"], "'0' is not within 1-999"),
        (["--nodes", "5-3"], "'5-3' is not within 1-999"),
        (["--nodes", "1-1000"], "'1-1000' is not within 1-999"),
        (["--nodes", "1,,2"], "'' is not a number like 3 or a range like 1-9"),
        (["--nodes", "-3"], "'-3' is not a number like 3 or a range like 1-9"),
        (["--nodes", "three"], "'three' is not a number like 3 or a range like 1-9"),
        (["--p", "1.1"], "'1.1' is not a share from 0 to 1, or from 0% to 100%"),
        (["--p", "101%"], "'101%' is not a share"),
        (["--p=-0.1"], "'-0.1' is not a share"),
        (["--p", "nan"], "'nan' is not a share"),
        (["--p", "some"], "'some' is not a share"),
        (["--target", "inf"], "'inf' is not a share"),
        (["--plot", "odds.pdf"], "odds.pdf must end in .png or .svg"),
        (["--p", "0", "--plot", "odds.png"], "with p = 0 some of these clusters practically never fail"),
    ],
)
def test_what_cannot_be_used_is_told(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = kv(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


class TestTarget:
    def test_the_fewest_nodes_are_named(self) -> None:
        code, _, err = kv("--nodes", "1-99", "--p", "0.01", "--target", "0.9999", "-o", "json")
        assert (code, err) == (0, "kv: 99.99% at QUORUM needs n=5, the fewest of those given\n")

    def test_a_target_that_is_just_met_is_met(self) -> None:
        """1 - 0.99 in doubles is a little more than 0.01, and 1 - 0.9 a little less than 0.1."""
        for p, met, missed in (("0.01", "99%", "99.0001%"), ("0.1", "0.9", "0.9000001"), ("0.3", "70%", "70.01%")):
            assert kv("--nodes", "1", "--p", p, "--target", met)[0] == 0
            assert kv("--nodes", "1", "--p", p, "--target", missed)[0] == 1

    def test_one_that_is_out_of_reach_ends_with_one(self) -> None:
        code, out, err = kv("--nodes", "1-9", "--p", "0.3", "--target", "99.99%")
        assert (code, err.splitlines()[-1]) == (1, "kv: 99.99% at QUORUM is not reached by any n of those given")
        assert len(out.splitlines()) == 10


class TestCells:
    @pytest.mark.parametrize(
        ("chance", "loss", "shown"),
        [
            (1.0, 0.0, "1"),
            (0.0, 1.0, "0"),
            (0.9477, 0.0523, "0.9477"),
            (0.9999, 0.0001, "0.9999"),
            (0.99991, 0.00009, "1-9e-5"),
            (1.0, 1e-18, "1-1e-18"),
            (1.0, 1e-120, "1"),
            (2e-7, 1 - 2e-7, "2e-7"),
            (1e-120, 1.0, "0"),
        ],
    )
    def test_a_chance_keeps_what_matters(self, chance: float, loss: float, shown: str) -> None:
        assert _chance(chance, loss) == shown

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0, "0"),
            (1e-9, "<1us"),
            (2e-6, "2.0us"),
            (0.0123, "12ms"),
            (0.9999, "1.0s"),
            (9.96, "10s"),
            (59.9, "1min"),
            (9_459.0, "2.6h"),
            (YEAR_S, "365d"),
        ],
    )
    def test_durations_are_short(self, seconds: float, shown: str) -> None:
        assert duration(seconds) == shown


class TestPicture:
    def test_the_curves_are_the_odds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[Figure] = []
        save = Figure.savefig

        def keep(figure: Figure, *arguments: object, **options: object) -> None:
            drawn.append(figure)
            save(figure, *arguments, **options)

        monkeypatch.setattr(Figure, "savefig", keep)
        assert kv("--nodes", "1-6", "--p", "0.1", "--plot", str(tmp_path / "odds.png"))[0] == 0
        (figure,) = drawn
        axes = figure.axes[0]
        documented, exact = axes.lines
        half_fail = [0.1, 0.19, 0.028, 0.0523, 0.00856, 0.01585]
        majority_fails = [0.1, 0.01, 0.028, 0.0037, 0.00856, 0.00127]
        for line, losses in ((documented, majority_fails), (exact, half_fail)):
            assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
            assert [10**-y for y in line.get_ydata()] == pytest.approx(losses, rel=1e-9)
        (gaps,) = axes.collections
        spans = [[tuple(point) for point in path.vertices.tolist()] for path in gaps.get_paths()]
        assert [(x, y) for span in spans for x, y in span] == [
            point for n in (2, 4, 6) for point in ((n, exact.get_ydata()[n - 1]), (n, documented.get_ydata()[n - 1]))
        ]
        assert [note.get_text() for note in axes.texts] == [
            f"{factor}\N{MULTIPLICATION SIGN}" for factor in (19, 14, 12)
        ]
        shares, downtimes = axes.get_ylim(), figure.axes[1].get_ylim()
        assert shares == downtimes

    @pytest.mark.parametrize("nodes", ["4", "3,5", "1-60"])
    def test_both_formats(self, nodes: str, tmp_path: Path) -> None:
        for name, start in (("odds.png", b"\x89PNG"), ("odds.SVG", b"<?xml")):
            assert kv("--nodes", nodes, "--plot", str(tmp_path / name))[0] == 0
            assert (tmp_path / name).read_bytes().startswith(start)

    def test_one_command_draws_one_picture(self, tmp_path: Path) -> None:
        for name in ("a.svg", "b.svg"):
            kv("--plot", str(tmp_path / name))
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()

    def test_without_matplotlib_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        code, out, err = kv("--plot", str(tmp_path / "odds.png"))
        assert (code, out) == (2, "")
        assert "--plot needs matplotlib, which is optional: pip install 'kvstore[report]'" in err
        assert "or pip install -e '.[report]' in a checkout" in err
        monkeypatch.undo()
        assert kv("--nodes", "3")[0] == 0

    def test_a_folder_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        code, _, err = kv("--plot", str(tmp_path / "no" / "odds.png"))
        assert code == 8
        assert "No such file or directory" in err
