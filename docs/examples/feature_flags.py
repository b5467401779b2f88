"""Feature flags: looked up in memory, changed for all processes at once, and never half of a change.

Flags that belong together are set in one transaction: they share a revision, a watch hands them on together, and
`Flags` takes them over together. A program without an event loop follows them in a thread.

    python feature_flags.py http://127.0.0.1:8480
"""

import json
import sys
import threading

from kvstore.client import Client, Watch
from kvstore.client.txn import Put

PREFIX = b"flags/"


class Flags:
    """The flags as they were at one revision. `on` costs a look into a dict."""

    def __init__(self, client: Client) -> None:
        page = client.range(prefix=PREFIX)
        self._flags = {key: json.loads(record.value) for key, record in page.records}
        self._changed = threading.Condition()
        self.revision = page.revision
        self._watch = client.watch(prefix=PREFIX, start=page.revision + 1)
        self._thread = threading.Thread(target=self._follow, args=(self._watch,), daemon=True)
        self._thread.start()

    def on(self, name: str, user: int) -> bool:
        """Whether the flag is on for this user: for so many of a hundred."""
        percent: int = self._flags.get(PREFIX + name.encode(), 0)
        return user % 100 < percent

    def wait(self, revision: int) -> None:
        """Waits until the flags are as they were then, or later."""
        with self._changed:
            self._changed.wait_for(lambda: self.revision >= revision, timeout=30)

    def close(self) -> None:
        self._watch.close()
        self._thread.join()

    def _follow(self, watch: Watch) -> None:
        flags = dict(self._flags)
        for event in watch:
            if event.value is None:
                flags.pop(event.key, None)
            else:
                flags[event.key] = json.loads(event.value)
            if watch.revision == event.revision:  # the last change of its revision
                with self._changed:
                    self._flags, self.revision = dict(flags), event.revision
                    self._changed.notify_all()


def main(endpoints: list[str]) -> None:
    with Client(endpoints) as client:
        client.delete_range(prefix=PREFIX)
        flags = Flags(client)
        assert not flags.on("new-checkout", user=7)
        done = client.txn(then=[Put(PREFIX + b"new-checkout", b"10"), Put(PREFIX + b"old-checkout", b"90")])
        flags.wait(done.revision)
        print("on for user 7:", flags.on("new-checkout", user=7), "and for user 70:", flags.on("new-checkout", user=70))
        assert flags.on("new-checkout", user=7)
        assert not flags.on("new-checkout", user=70)
        gone = client.delete(PREFIX + b"new-checkout")
        flags.wait(gone.revision or 0)
        assert not flags.on("new-checkout", user=7)
        flags.close()


if __name__ == "__main__":
    main(sys.argv[1].split(","))
