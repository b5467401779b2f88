"""The routes of the web page: its files, the odds, the reports of a directory."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvstore import availability, limits
from kvstore.http import HttpServer, ui
from kvstore.telemetry.metrics import Metrics
from tests.integration.house import House
from tests.integration.memory_store import MemoryStore

REPORT = "<!doctype html><title>run</title><script>1</script>"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """With a directory of reports in which there is more than may be shown."""
    reports = tmp_path / "reports"
    run = reports / "suite" / "kill-7"
    run.mkdir(parents=True)
    (run / "report.html").write_text(REPORT)
    (run / "results.json").write_text('{"verdict": "passed", "scenario": "kill", "more": [1]}')
    (run / ".secret.html").write_text("hidden")
    (run / "notes.sh").write_text("no page")
    odds = reports / "odds-1"
    odds.mkdir()
    (odds / "odds.html").write_text(REPORT)
    (odds / "odds.json").write_text("no json")
    os.utime(odds / "odds.html", (1, 1))
    (tmp_path / "outside.html").write_text("not for anybody")
    (reports / "link.html").symlink_to(tmp_path / "outside.html")
    (reports / "linked").symlink_to(tmp_path)
    os.mkfifo(reports / "pipe.html")
    with open(reports / "large.html", "wb") as file:
        file.truncate(limits.UI_REPORT_BYTES_MAX + 1)
    house = House()
    house.store = MemoryStore()
    house.server = HttpServer(house.store, Metrics(), listen=("127.0.0.1", 0), reports_dir=str(reports))
    await house.server.start()
    yield house
    await house.server.close()


async def test_every_file_of_the_page_is_served_with_its_type_tag_and_policy(house: House) -> None:
    assert {"index.html", "style.css", "app.js", "vendor/uPlot.js", "vendor/uPlot.LICENSE.txt"} <= set(ui.files())
    for name, file in ui.files().items():
        got = await house.ask("GET", f"/ui/{name}")
        assert (got.status, got.body) == (200, file.body)
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        policy = got.headers["Content-Security-Policy"]
        assert policy == (ui.FRAME_POLICY if name == ui.FRAME else ui.PAGE_POLICY)
        assert ("unsafe" in policy) == (name == ui.FRAME)
        head = await house.ask("HEAD", f"/ui/{name}")
        assert (head.status, head.body, head.headers["ETag"]) == (200, b"", got.headers["ETag"])
        again = await house.ask("GET", f"/ui/{name}", f"If-None-Match: {got.headers['ETag']}")
        assert (again.status, again.body) == (304, b"")
    index = await house.ask("GET", "/ui")
    assert index.body == ui.files()["index.html"].body
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert (await house.ask("GET", "/ui", 'If-None-Match: "other"')).status == 200


@pytest.mark.parametrize(
    "path", ["../http/ui.py", "%2e%2e/http/ui.py", "..%2f..%2fetc/passwd", "views", "views/", "/index.html", "%00", "x"]
)
async def test_nothing_but_its_files_is_served(house: House, path: str) -> None:
    got = await house.ask("GET", f"/ui/{path}")
    assert (got.status, got.json["code"]) == (404, "route_not_found")


def test_no_file_of_the_page_names_another_place_or_makes_markup_of_text() -> None:
    for name, file in ui.files().items():
        if name.startswith("vendor/"):
            continue
        text = file.body.decode()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function", "style="):
            assert word not in text, (name, word)
        assert ("document.write" in text) == (name == "frame.js")
        assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), name  # the name space of pictures
    index = ui.files()["index.html"].body.decode()
    assert "<style" not in index
    # Each script has its src: none stands in the page itself.
    assert (
        index.count("<script")
        == index.count("</script>")
        == index.count('<script type="module" src="/ui/app.js"></script>')
    )


async def test_odds_are_those_of_the_library(house: House) -> None:
    told = (await house.ask("GET", "/v1/odds?nodes=1,3-5&p=0.1")).json
    assert told == {"p": 0.1, "rows": [availability.odds_row(n, 0.1) for n in (1, 3, 4, 5)]}
    assert len((await house.ask("GET", "/v1/odds")).json["rows"]) == 9
    assert (await house.ask("GET", "/v1/odds?nodes=3&p=0")).json["rows"][0]["nines"]["quorum"] is None
    for query in ("nodes=0", "nodes=100", "nodes=1-99", "nodes=5-3", "nodes=3&p=2", "p=-1", "p=nan", "p=1e-3", "n=3"):
        assert (await house.ask("GET", f"/v1/odds?{query}")).status == 400, query


async def test_reports_are_listed_the_newest_first(house: House) -> None:
    told = (await house.ask("GET", "/v1/reports")).json
    assert told["configured"]
    assert [(each["folder"], each["kind"], each["verdict"], each["title"]) for each in told["reports"]] == [
        ("suite/kill-7", "chaos", "passed", "kill"),
        ("odds-1", "odds", None, "odds-1"),
    ]
    assert told["reports"][0]["size_bytes"] == len(REPORT)
    assert told["reports"][1]["time_ms"] == 1_000


async def test_a_report_is_served_in_a_sandbox(house: House) -> None:
    got = await house.ask("GET", "/v1/reports/suite/kill-7/report.html")
    assert (got.status, got.body) == (200, REPORT.encode())
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    assert got.headers["Content-Security-Policy"].startswith("sandbox allow-scripts; default-src 'none'; ")
    assert got.headers["Cache-Control"] == "no-store"
    assert (await house.ask("GET", "/v1/reports/suite%2fkill-7%2fresults.json")).json["verdict"] == "passed"


@pytest.mark.parametrize(
    "path",
    [
        "link.html",
        "linked/outside.html",
        "pipe.html",
        "large.html",
        "suite/kill-7/.secret.html",
        "suite/kill-7/notes.sh",
        "suite/../../outside.html",
        "..%2foutside.html",
        "suite//kill-7/report.html",
        "%2fetc/passwd.txt",
        "suite/kill-7",
        "suite/kill-7/none.html",
        "suite%00/report.html",
    ],
)
async def test_nothing_else_below_beside_or_behind_the_directory_is_served(house: House, path: str) -> None:
    got = await house.ask("GET", f"/v1/reports/{path}")
    assert (got.status, got.json["detail"]) == (404, "there is no such report")


async def test_a_node_without_a_directory_says_so() -> None:
    house = House()
    await house.server.start()
    assert (await house.ask("GET", "/v1/reports")).json == {"configured": False, "reports": []}
    assert "ui_reports_dir" in (await house.ask("GET", "/v1/reports/a/report.html")).json["detail"]
    await house.server.close()
