"""`/docs`: the API as a page."""

import re
from html.parser import HTMLParser

from kvstore.http import reference
from kvstore.http.routes import ROUTES

VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        told = dict(attrs)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told[name] or "" for name in ("href", "src") if name in told]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_route_and_every_shape_is_on_the_page_and_every_link_leads_somewhere() -> None:
    text = reference.encoded().decode()
    page = Page(text)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    for route in ROUTES:
        assert re.search(rf">{route.method}</span><span class=\"path\">{re.escape(route.path)}</span>", text), (
            route.path
        )
    assert {link for link in page.links if link.startswith("#")} <= {f"#{each}" for each in page.ids}
    assert [link for link in page.links if not link.startswith("#")] == ["/openapi.json"]
    assert "shape-ProblemBody" in page.ids


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    text = reference.encoded().decode()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|<script|javascript:|@import|url\(", text)


def test_what_a_schema_says_is_told_in_words() -> None:
    assert reference._type({"type": "integer", "minimum": 1, "maximum": 2_000, "default": 7}) == (
        "a whole number, 1 to 2,000; <code>7</code> if not given"
    )
    assert reference._type({"anyOf": [{"enum": ["a<b", "c"]}, {"type": "null"}]}) == (
        "<code>a&lt;b</code> or <code>c</code> or <code>null</code>"
    )
    assert reference._type({"type": "array", "items": {"$ref": "#/components/schemas/LeaseBody"}}) == (
        'a list of <a href="#shape-LeaseBody">LeaseBody</a>'
    )
