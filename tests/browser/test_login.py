"""The web page of a cluster that asks who one is."""

from collections.abc import Iterator
from typing import Any

import pytest

from kvcluster.supervisor import Cluster
from kvstore.client import Client
from tests.support.web_page import Watched

SECRET = "long enough"


@pytest.fixture
def guarded(cluster: Cluster, kv: Client) -> Iterator[Client]:
    """Auth is enabled; the user app may read and write below app/, and nothing else."""
    kv.put(b"app/a", b"1")
    kv.add_role("apps")
    kv.grant_permission("apps", ["read", "write"], start=b"app/", end=b"app0")
    kv.add_user("app", SECRET)
    kv.grant_role("app", "apps")
    kv.enable_auth(SECRET)
    with Client(cluster.endpoints, user="root", password=SECRET, timeout_s=30.0) as root:
        yield root
        root.disable_auth()


def log_in(page: Any, user: str, password: str) -> None:
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_who_one_is_decides_what_is_seen(page: Watched, guarded: Client) -> None:
    shown = page.go()
    log_in(shown, "app", "not the password")
    dialog = shown.get_by_role("dialog")
    dialog.get_by_role("alert").filter(has_text="password").wait_for()
    log_in(shown, "app", SECRET)
    dialog.wait_for(state="detached")
    shown.get_by_text("3 of 3 voters can be reached").wait_for()
    # What it may not do is told by name, what it may is done.
    page.go("keys")
    shown.get_by_role("alert").filter(has_text="read is not allowed").wait_for()
    page.go("keys?prefix=app%2f&key=app%2fa")
    shown.get_by_role("button", name="Edit", exact=True).click()
    shown.get_by_label("Value").fill("2")
    shown.get_by_role("button", name="Save").click()
    shown.get_by_text("Committed", exact=True).wait_for()
    assert guarded.get_value(b"app/a") == b"2"
    page.go("reports")
    shown.get_by_role("alert").filter(has_text="admin is not allowed").wait_for()
    # A reload asks nothing; the password is in no storage.
    shown.reload()
    shown.get_by_role("button", name="Log out app").wait_for()
    assert dialog.count() == 0
    kept = shown.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
    assert SECRET not in kept
    shown.get_by_role("button", name="Log out app").click()
    dialog.wait_for()
    assert shown.evaluate("sessionStorage.length") == 0
    log_in(shown, "root", SECRET)
    shown.get_by_role("button", name="Open kill-7").click()
    shown.frame_locator("iframe").locator("h1").wait_for()
    page.go("watch?prefix=app")
    shown.get_by_text("Watching.").wait_for()
    guarded.put(b"app/a", b"told")
    shown.get_by_role("log").get_by_text("told", exact=True).wait_for()
