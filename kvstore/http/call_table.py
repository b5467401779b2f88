"""The table of all calls in docs/http-api.md, made from the route table; `python -m kvstore.http` puts it there."""

import inspect
from typing import Final

import msgspec

from kvstore.http.operations import Operation, Shape
from kvstore.http.routes import ROUTES, Route

BEGIN: Final = "<!-- Made from the route table by `python -m kvstore.http docs/http-api.md`; do not edit. -->\n"
END: Final = "<!-- End of what is made. -->\n"

_HEAD: Final = "| call | meaning | takes | needs |\n|---|---|---|---|\n"


def table() -> str:
    """A row for each route that is no HEAD."""
    return _HEAD + "".join(
        f"| {' | '.join(map(_escaped, _row(route)))} |\n" for route in ROUTES if route.method != "HEAD"
    )


def renewed(page: str) -> str:
    """The page with the table of today between its two comments. Raises ValueError if they are not there."""
    before, began, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not began or not ended:
        raise ValueError("the page has no place for the table")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _row(route: Route) -> tuple[str, str, str, str]:
    about = inspect.getdoc(route.handler) or ""
    return (
        f"`{route.method} {route.path}`",
        about.replace("\n", " ").rstrip("."),
        ", ".join(_taken(route.operation)),
        route.permission.about,
    )


def _taken(operation: Operation) -> list[str]:
    query = [f"`{each.name}`" for each in operation.query.parameters]
    headers = [f"`{each.name}`" for each in operation.headers]
    bodies = (body for shape in (operation.body or {}).values() for body in _body(shape))
    return [*query, *headers, *dict.fromkeys(bodies)]


def _body(shape: Shape) -> list[str]:
    """The members of a body; nothing of one that is a value."""
    if isinstance(shape, dict):
        return []
    return [f"body `{{{', '.join(field.encode_name for field in msgspec.structs.fields(shape))}}}`"]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
