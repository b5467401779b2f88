"""`/v1/reports`: the reports of the harness in `ui_reports_dir`, as a list and one by one, for the web page."""

from typing import Final

import msgspec
from aiohttp import web

from kvstore.http import parse
from kvstore.http.answer import JSON, Answer, content_type
from kvstore.http.kv import Door
from kvstore.http.report_files import TYPES, ReportBody

# Pages with scripts of their own: shown by a browser, they have no origin, and may ask nothing of anybody.
_POLICY: Final = (
    b"Content-Security-Policy: sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    b"style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n"
)


class ReportsBody(msgspec.Struct):
    """The newest first. `configured`: whether this node has a directory of reports at all."""

    configured: bool
    reports: list[ReportBody]


async def get_reports(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The reports of the harness that this node can show."""
    parse.no_options(query)
    found = await door.reports.all()
    body = ReportsBody(bool(door.reports.directory), found)
    return Answer(200, content_type(JSON) + b"Cache-Control: no-store\r\n", msgspec.json.encode(body))


async def get_report(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A file of a report."""
    parse.no_options(query)
    path = parse.key_of(raw_key).decode(errors="replace")
    body = await door.reports.file(path)
    return Answer(200, content_type(TYPES[path.rpartition(".")[2]]) + _POLICY, body)
