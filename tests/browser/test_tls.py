"""The web page of a cluster whose doors are TLS."""

from pathlib import Path
from typing import Any

import pytest

from kvcluster.lifecycle import bring_up
from tests.support.web_page import VIEWS, Watched


@pytest.mark.long
def test_every_view_is_there_over_tls_and_a_watch_tells(browser: Any, tmp_path: Path) -> None:
    cluster = bring_up(tmp_path / "cluster", 3, tls=True)
    try:
        endpoint = cluster.endpoints[0]
        assert endpoint.startswith("https://")
        page = Watched(browser, endpoint)
        for view in VIEWS:
            page.go(view)
        shown = page.go()
        shown.get_by_text("3 of 3 voters can be reached").wait_for()
        page.go("watch?prefix=k")
        shown.get_by_text("Watching.").wait_for()
        put = shown.evaluate("fetch('/v1/kv/k', {method: 'PUT', body: 'sealed'}).then(answer => answer.status)")
        assert put == 200
        shown.get_by_role("log").get_by_text("sealed", exact=True).wait_for()
        page.close()
    finally:
        for name in cluster.topology.processes:
            cluster.kill(name)
