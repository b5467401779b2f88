"""The web page with much to show: it stays responsive."""

import threading
from typing import Any

import pytest

from kvcluster.supervisor import Cluster
from kvstore.client import Client, Put
from tests.support.web_page import Watched

KEYS = 100_000
EVENTS = 10_000
BATCH = 5_000
# The longest that the page may be deaf to its user, in milliseconds. A tenth of a second is felt as at once; the
# machines of tests are slow, and busy with a cluster.
DEAF_MS_MAX = 500

_LOOK = """() => {
    window.longest = 0;
    let last = performance.now();
    const tick = () => {
        const now = performance.now();
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
}"""

pytestmark = pytest.mark.long


def fill(kv: Client, prefix: str, number: int) -> None:
    for start in range(0, number, BATCH):
        ops = [Put(f"{prefix}{at:06d}".encode(), b"%d" % at) for at in range(start, min(start + BATCH, number))]
        assert all(hasattr(result, "revision") for result in kv.batch(ops))


def longest_ms(page: Any) -> float:
    found: float = page.evaluate("window.longest")
    print(f"deaf for {found:.0f} ms at most")
    return found


def test_a_hundred_thousand_keys_in_one_folder(page: Watched, kv: Client) -> None:
    fill(kv, "many/flat/", KEYS)
    shown = page.go("keys?prefix=many%2f")
    folder = shown.get_by_role("treeitem").filter(has=shown.get_by_text("flat/", exact=True))
    folder.get_by_text(f"{KEYS:,}").wait_for()
    shown.evaluate(_LOOK)
    folder.click()
    shown.get_by_text("000000", exact=True).wait_for()
    tree = shown.get_by_role("tree")
    # To the very end, by dragging: what is passed over is loaded page by page.
    tree.evaluate(
        """(tree, last) => new Promise((resolve) => {
            const drag = () => {
                tree.scrollTop = tree.scrollHeight;
                if (tree.textContent.includes(last)) resolve();
                else requestAnimationFrame(drag);
            };
            drag();
        })""",
        f"{KEYS - 1:06d}",
    )
    assert shown.get_by_role("treeitem").count() < 100, "only what is in sight is there"
    assert longest_ms(shown) < DEAF_MS_MAX
    # And another folder beside it is found without asking for these.
    kv.put(b"many/small/one", b"1")
    shown.get_by_role("button", name="Show").click()
    shown.get_by_text("small/", exact=True).wait_for()


def test_ten_thousand_events(page: Watched, kv: Client, cluster: Cluster) -> None:
    shown = page.go("watch?prefix=burst")
    shown.get_by_text("Watching.").wait_for()
    shown.evaluate(_LOOK)
    writing = threading.Thread(target=fill, args=(kv, "burst/", EVENTS + BATCH))
    writing.start()
    shown.get_by_text(f"{EVENTS + BATCH:,} changes, the newest {EVENTS:,} are kept").wait_for(timeout=120_000)
    writing.join()
    assert shown.get_by_role("log").locator(".event").count() < 100
    assert longest_ms(shown) < DEAF_MS_MAX
    log = shown.get_by_role("log")
    log.evaluate("log => { log.scrollTop = log.scrollHeight }")
    log.get_by_text(f"burst/{BATCH:06d}", exact=True).wait_for()
    assert shown.get_by_role("log").locator(".event").count() < 100
