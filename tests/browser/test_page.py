"""Every view of the web page, used as a person uses it."""

import time
from typing import Any

import pytest

from kvcluster.supervisor import Cluster
from kvstore import availability
from kvstore.client import Client
from tests.support.web_page import AXE, VIEWS, Watched, serious


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def pick(page: Any, *path: str) -> None:
    """Opens folders, and at last a key."""
    for name in path:
        page.get_by_role("treeitem").filter(has=page.get_by_text(name, exact=True)).click()


def test_the_overview_shows_the_cluster(page: Watched, cluster: Cluster, kv: Client) -> None:
    shown = page.go()
    view = kv.cluster()
    rows = shown.get_by_role("table", name="Members").locator("tbody tr")
    rows.nth(2).wait_for()
    assert [rows.nth(at).locator("strong").inner_text() for at in range(3)] == ["n1", "n2", "n3"]
    leading = rows.filter(has=shown.get_by_text("leader", exact=True))
    assert leading.locator("strong").inner_text() == view.leader
    assert shown.get_by_role("status").first.inner_text() == "Healthy"
    shown.get_by_text(f"{view.leader} leads. 3 of 3 voters can be reached").wait_for()
    assert view.cluster_id in shown.locator("main").inner_text()


def test_a_key_is_put_seen_in_the_tree_edited_and_deleted(page: Watched, kv: Client) -> None:
    shown = page.go("keys")
    button(shown, "New key").click()
    shown.get_by_label("Key", exact=True).fill("shop/teas/assam")
    shown.get_by_label("Value").fill('{"price": 12345678901234567890}')
    button(shown, "Put").click()
    shown.get_by_text("Put shop/teas/assam: revision").wait_for()
    assert kv.get_value(b"shop/teas/assam") == b'{"price": 12345678901234567890}'
    # All digits are kept: it was not made a number on the way.
    assert '"price": 12345678901234567890' in shown.get_by_label("Value").inner_text()
    pick(shown, "shop/", "teas/")
    chosen = shown.get_by_role("treeitem", selected=True)
    assert chosen.inner_text() == "assam"
    button(shown, "Hex").click()
    assert shown.get_by_label("Value").inner_text().startswith("00000000  7b 22 70")
    button(shown, "Edit").click()
    shown.get_by_label("Value").fill("sold out")
    button(shown, "Save").click()
    shown.get_by_text("Committed", exact=True).wait_for()
    assert kv.get_value(b"shop/teas/assam") == b"sold out"
    button(shown, "Delete").click()
    shown.get_by_role("dialog").get_by_role("button", name="Delete").click()
    shown.get_by_text("The key is absent").wait_for()
    shown.get_by_text("Deleted shop/teas/assam: revision").wait_for()
    assert kv.get(b"shop/teas/assam") is None


def test_an_edit_whose_condition_fails_says_that_nothing_was_changed(page: Watched, kv: Client) -> None:
    kv.put(b"raced", b"1")
    shown = page.go("keys?key=raced")
    button(shown, "Edit").click()
    kv.put(b"raced", b"2")
    shown.get_by_label("Value").fill("3")
    button(shown, "Save").click()
    told = shown.get_by_role("alert").filter(has_text="412")
    told.wait_for()
    assert "Nothing was changed." in told.inner_text()
    assert kv.get_value(b"raced") == b"2"


def test_a_write_at_level_one_is_pending_and_its_receipt_is_followed(page: Watched, kv: Client) -> None:
    shown = page.go("keys")
    button(shown, "New key").click()
    shown.get_by_label("Key", exact=True).fill("hasty")
    shown.get_by_label("Value").fill("at once")
    shown.get_by_label("Level", exact=True).select_option("one")
    assert shown.get_by_label("Condition").is_disabled()
    button(shown, "Put").click()
    receipt = shown.locator(".notice a").inner_text()
    shown.locator(".notice a").click()
    shown.get_by_text(f"{receipt}: committed").or_(shown.get_by_text(f"{receipt}: pending")).wait_for()
    own = shown.get_by_role("table", name="Writes at level one").locator("tbody tr")
    own.filter(has_text="committed").wait_for()
    assert receipt in own.inner_text()
    assert kv.get_value(b"hasty") == b"at once"


def test_bytes_that_are_no_text_are_shown_and_edited_as_bytes(page: Watched, kv: Client) -> None:
    kv.put(b"raw/\xff\x00", bytes(range(256)))
    kv.put(b"raw/lines", b"a\r\nb")
    shown = page.go("keys?prefix=raw%2f")
    pick(shown, r"\xff\x00")
    assert button(shown, "Text").is_disabled()
    button(shown, "Edit").click()
    assert shown.get_by_label("Written as").input_value() == "hex"
    shown.get_by_label("Value").fill("00 ff 0")
    button(shown, "Save").click()
    shown.get_by_text("These are no hexadecimal bytes").wait_for()
    shown.get_by_label("Value").fill("00 ff 0a")
    button(shown, "Save").click()
    shown.get_by_text("Committed", exact=True).wait_for()
    assert kv.get_value(b"raw/\xff\x00") == b"\x00\xff\n"
    # The field for text would change the line ends.
    pick(shown, "lines")
    shown.get_by_role("heading", name="raw/lines").wait_for()
    button(shown, "Edit").click()
    assert shown.get_by_label("Written as").input_value() == "hex"


HOSTILE = b"<img src=x onerror=alert(1)>"


def test_hostile_keys_and_values_are_text_everywhere(page: Watched, kv: Client) -> None:
    value = b"<script>alert(2)</script><b>"
    lease = kv.grant(60)
    kv.put(HOSTILE, value, lease=lease)
    kv.put(HOSTILE, value + b"\xe2\x80\xae", lease=lease)
    shown = page.go("keys?prefix=%3c")
    pick(shown, HOSTILE.decode())
    assert shown.get_by_label("Value").inner_text().startswith(value.decode())
    button(shown, "History").click()
    button(shown, "Edit from this value").or_(shown.get_by_role("button", name="View revision").first).click()
    button(shown, "Edit from this value").wait_for()
    page.go(f"leases?id={lease}").get_by_role("link", name=HOSTILE.decode()).wait_for()
    page.go("watch?prefix=%3c")
    shown.get_by_text("Watching.").wait_for()
    kv.put(HOSTILE, value)
    shown.get_by_role("log").get_by_text(value.decode()).wait_for()
    assert shown.locator("main img, main script, main b").count() == 0
    kv.revoke(lease)


def test_the_history_has_every_change_and_brings_a_value_back(page: Watched, kv: Client) -> None:
    for value in (b"red", b"green"):
        kv.put(b"colour", value)
    kv.delete(b"colour")
    kv.put(b"colour", b"blue")
    shown = page.go("keys?key=colour")
    button(shown, "History").click()
    rows = shown.get_by_role("table", name="History of the key").locator("tbody tr")
    rows.nth(3).wait_for()
    assert [rows.nth(at).locator(".tag").inner_text() for at in range(4)] == ["put", "delete", "put", "put"]
    rows.nth(3).get_by_role("button").click()
    button(shown, "Edit from this value").click()
    button(shown, "Save").click()
    shown.get_by_text("Committed", exact=True).wait_for()
    assert kv.get_value(b"colour") == b"red"


def test_a_watch_shows_changes_as_they_happen(page: Watched, kv: Client) -> None:
    shown = page.go("watch")
    shown.get_by_label("Key or prefix").fill("live/")
    button(shown, "Watch").click()
    shown.get_by_text("Watching.").wait_for()
    kv.put(b"live/1", b"first")
    kv.put(b"other", b"not told")
    kv.delete(b"live/1")
    rows = shown.get_by_role("log").locator(".event")
    rows.nth(1).wait_for()
    assert [rows.nth(at).locator(".tag").inner_text() for at in range(2)] == ["delete", "put"]
    assert rows.nth(1).locator(".preview").inner_text() == "first"
    shown.get_by_text("Watching. 2 changes.").wait_for()
    button(shown, "Stop").click()
    shown.get_by_text("Stopped.").wait_for()


def test_a_lease_is_granted_kept_alive_and_revoked(page: Watched, kv: Client) -> None:
    shown = page.go("leases")
    shown.get_by_label("Seconds to live").fill("120")
    button(shown, "Grant a lease").click()
    shown.get_by_text("Granted lease").wait_for()
    lease = max(kv.leases())
    kv.put(b"leased", b"1", lease=lease)
    page.go("keys")
    page.go("leases")
    shown.get_by_role("listitem").filter(has_text=f"Lease {lease}").get_by_text("2 min, leased").wait_for()
    button(shown, f"Lease {lease}").click()
    shown.get_by_role("link", name="leased").wait_for()
    button(shown, "Keep alive").click()
    shown.get_by_text(f"Lease {lease} has its 2 min again").wait_for()
    button(shown, "Revoke").click()
    shown.get_by_role("dialog").get_by_text("1 key will be deleted").wait_for()
    shown.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    shown.get_by_text(f"Revoked lease {lease}; 1 key deleted").wait_for()
    assert lease not in kv.leases()
    assert kv.get(b"leased") is None


def test_the_calculator_tells_what_the_library_computes(page: Watched) -> None:
    shown = page.go("odds")
    shown.get_by_label("Numbers of nodes").fill("3,4")
    shown.get_by_label("Down, % of the time").fill("10")
    button(shown, "Compute").click()
    rows = shown.get_by_role("table", name="Odds").locator("tbody tr")
    shown.get_by_text("94.77 %").wait_for()
    assert f"{availability.raft_survival(3, 0.1):.2%}".replace("%", " %") in rows.nth(0).inner_text()
    assert f"{availability.raft_survival(4, 0.1):.2%}".replace("%", " %") in rows.nth(1).inner_text()
    assert "too high" in rows.nth(1).inner_text()
    assert "this cluster" in rows.nth(0).inner_text()
    served = shown.locator(".served li")
    shown.get_by_label("n1 fails").check()
    assert served.nth(1).inner_text().startswith("QUORUM is served")
    shown.get_by_label("n2 fails").check()
    assert served.nth(1).inner_text().startswith("QUORUM is not served")
    assert served.nth(0).inner_text().startswith("ONE is served")


def test_a_report_is_shown_and_can_do_nothing_else(page: Watched) -> None:
    shown = page.go("reports")
    button(shown, "Open kill-7").click()
    report = shown.frame_locator("iframe")
    report.locator("h1").wait_for()
    assert "failed" in report.locator("body").inner_text().lower()
    # Its script has run, and it is cut off from this page and from the node.
    assert report.locator(".cursor").count() == 3
    frame = next(each for each in shown.frames if each != shown.main_frame)
    assert frame.evaluate("self.origin") == "null"
    assert frame.evaluate("fetch('/v1/kv').then(() => 'answered', () => 'refused')") == "refused"
    page.wrong = [each for each in page.wrong if "connect" not in each and "'/v1/kv'" not in each]
    shown.get_by_role("button", name="All reports").click()
    shown.get_by_text("1 report", exact=True).wait_for()


def test_charts_are_drawn_from_the_metrics(page: Watched, kv: Client) -> None:
    shown = page.go("activity")
    quorum = shown.get_by_role("figure", name="Requests by level").get_by_role("listitem").filter(has_text="quorum")
    ends = time.monotonic() + 20
    while "0/s" in quorum.inner_text().split() or "\N{EN DASH}" in quorum.inner_text():
        assert time.monotonic() < ends, quorum.inner_text()
        shown.evaluate("fetch('/v1/kv/charted', {method: 'PUT', body: 'x'})")
        shown.wait_for_timeout(100)
    assert shown.locator("canvas").count() == 8
    latency = shown.get_by_role("figure", name="Latency")
    assert "ms" in latency.inner_text() or "µs" in latency.inner_text()


def test_everything_is_reached_by_the_keyboard(page: Watched, kv: Client) -> None:
    kv.put(b"keyboard/deep/key", b"typed")
    shown = page.go("keys?prefix=keyboard")
    shown.get_by_text("keyboard/", exact=True).wait_for()
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.id") == "skip"
    for _ in range(30):
        if shown.evaluate("document.activeElement.getAttribute('role')") == "tree":
            break
        shown.keyboard.press("Tab")
    for key, name in (("Enter", "deep/"), ("ArrowDown", None), ("ArrowRight", "key"), ("ArrowDown", None)):
        shown.keyboard.press(key)
        if name:
            shown.get_by_role("treeitem").filter(has=shown.get_by_text(name, exact=True)).wait_for()
    shown.keyboard.press("Enter")
    shown.get_by_role("heading", name="keyboard/deep/key").wait_for()
    button(shown, "Edit").wait_for()
    for _ in range(30):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.textContent") == "Edit":
            break
    shown.keyboard.press("Enter")
    shown.keyboard.type(", by hand")
    shown.keyboard.press("Tab")
    for _ in range(10):
        if shown.evaluate("document.activeElement.textContent") == "Save":
            break
        shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    shown.get_by_text("Committed", exact=True).wait_for()
    assert kv.get_value(b"keyboard/deep/key") == b"typed, by hand"


def test_a_phone_has_room_for_every_view(phone: Watched, kv: Client) -> None:
    kv.put(b"phone/" + b"long" * 40, b"v" * 500)
    for view in (*VIEWS, "keys?prefix=phone&key=phone%2f" + "long" * 40):
        shown = phone.go(view)
        shown.wait_for_load_state("networkidle") if view == "" else shown.locator("main > :nth-child(2)").wait_for()
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    shown.get_by_role("button", name="All keys").click()
    shown.get_by_role("tree").wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there; cluster/install-extras.sh fetches it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser: Any, cluster: Cluster, kv: Client, scheme: str) -> None:
    kv.put(b"axe/key", b'{"a": 1}')
    watched = Watched(browser, cluster.endpoints[0], scheme=scheme)
    found = {}
    for view in (*VIEWS, "keys?prefix=axe&key=axe%2fkey", "watch?prefix=axe"):
        shown = watched.go(view)
        if "key=" in view:
            button(shown, "History").click()
            shown.get_by_text("This is all of it.").or_(shown.get_by_text("The history reaches")).wait_for()
        elif view.startswith("watch?"):
            shown.get_by_text("Watching.").wait_for()
            kv.put(b"axe/key", b'{"a": 2}')
            shown.get_by_role("log").locator(".event").first.wait_for()
        else:
            shown.locator("main > :nth-child(2)").wait_for()
        if wrong := serious(shown):
            found[view] = wrong
    assert found == {}
    watched.close()


def test_the_overview_tells_who_is_away_and_the_page_that_its_node_is(page: Watched, cluster: Cluster) -> None:
    shown = page.go()
    shown.get_by_text("3 of 3 voters can be reached").wait_for()
    follower = next(name for name in ("n2", "n3") if name != cluster.leader())
    cluster.kill(follower)
    row = shown.get_by_role("table", name="Members").locator("tr").filter(has_text=follower)
    row.get_by_text("unreachable").wait_for()
    shown.get_by_text("No other one may fail.").wait_for()
    assert shown.get_by_role("status").first.inner_text() == "2 of 3 up"
    cluster.restart(follower)
    shown.get_by_text("3 of 3 voters can be reached").wait_for()
    cluster.kill("n1")
    told = shown.get_by_role("alert").filter(has_text="This node does not answer.")
    told.wait_for()
    assert shown.get_by_role("status").first.inner_text() == "No answer"
    # What it told before stays in sight and is said to be old; its verdict does not, and the others' pages are offered.
    shown.get_by_text("What follows is how it was when n1 last answered.").wait_for()
    assert shown.get_by_text("3 of 3 voters can be reached").count() == 0
    for name, address, link in zip(("n2", "n3"), cluster.endpoints[1:], told.get_by_role("link").all(), strict=True):
        assert (link.inner_text(), link.get_attribute("href")) == (f"Page of {name}", f"{address}/ui")
    cluster.restart("n1")
    shown.get_by_text("This node does not answer.").wait_for(state="detached")
    shown.get_by_text("3 of 3 voters can be reached").wait_for()


@pytest.mark.long
def test_without_a_majority_the_page_says_so_and_reads_at_level_one(
    page: Watched, cluster: Cluster, kv: Client
) -> None:
    kv.put(b"alone", b"1", level="all")  # so that the last one alive has applied it
    for name in ("n2", "n3"):
        cluster.kill(name)
    shown = page.go()
    shown.get_by_text("No leader is known: level one goes on here, for reads and writes").wait_for()
    page.go("keys")
    shown.get_by_role("alert").filter(has_text="503").wait_for()
    button(shown, "Read at level one").click()
    shown.get_by_text("alone", exact=True).click()
    button(shown, "Edit").click()
    shown.get_by_label("Value").fill("2")
    button(shown, "Save").click()
    told = shown.get_by_role("alert").filter(has_text="503")
    told.wait_for()
    assert "Nothing was changed." in told.inner_text()
    for name in ("n2", "n3"):
        cluster.start(name)
    cluster.wait_ready(("n1", "n2", "n3"), 60.0)
    button(shown, "Save").click()
    shown.get_by_text("Committed", exact=True).wait_for()
