"""The web page as a person has it before the eyes, for tests: goes to views, and remembers what must not happen."""

from pathlib import Path
from typing import Any

VIEWS = ("", "activity", "keys", "watch", "receipts", "leases", "odds", "reports")
PATIENCE_MS = 20_000.0
AXE = Path(__file__).resolve().parents[1] / "browser/node_modules/axe-core/axe.min.js"

# An answer that is an error is told on the console, whatever the page makes of it.
_TOLD_ANYWAY = "Failed to load resource:"


class Watched:
    """A page of `endpoint` in a context of its own, which believes every certificate: users tell browsers of a CA."""

    def __init__(
        self, browser: Any, endpoint: str, *, width: int = 1280, height: int = 800, scheme: str = "light"
    ) -> None:
        self.endpoint = endpoint
        self.wrong: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, ignore_https_errors=True
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self.page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._requested)

    def _said(self, message: Any) -> None:
        if not message.text.startswith(_TOLD_ANYWAY):
            self.wrong.append(f"console: {message.type}: {message.text}")

    def _asked(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.endpoint + "/", "data:")):
            self.wrong.append(f"request: {request.url}")

    def go(self, view: str = "") -> Any:
        """Opens a view, its parameters behind a question mark; the page, once the head of the view is there."""
        self.page.goto(f"{self.endpoint}/ui#/{view}")
        self.page.locator("h1").wait_for()
        return self.page

    def close(self) -> None:
        self._context.close()
        assert self.wrong == []


def serious(page: Any) -> list[str]:
    """What axe finds to be a serious or critical violation."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
