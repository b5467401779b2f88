"""What the routes of the web page take and answer; see `operations`."""

from typing import Any, Final

from kvstore import errors, limits
from kvstore.http import odds, parameters, reports, ui
from kvstore.http.answer import JSON
from kvstore.http.operations import Header, Operation, Told
from kvstore.http.parameters import Opaque, Parameter

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_BYTES: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_TAG: Final = Header("ETag", "Of the file's content.", _TEXT, True)
_POLICY: Final = Header("Content-Security-Policy", "What a browser may do with it.", _TEXT, True)
_KNOWN: Final = Header("If-None-Match", "Tags that are there already.", _TEXT)

_UNCHANGED: Final = Told("It is as it was.", {}, (_TAG, _POLICY))

ODDS: Final = Operation(odds.ODDS, {200: Told("A row for each number of nodes.", {JSON: odds.OddsBody})})
REPORTS: Final = Operation(
    parameters.NOTHING,
    {200: Told("What there is.", {JSON: reports.ReportsBody})},
    (errors.RouteNotFound,),
)
REPORT: Final = Operation(
    parameters.NOTHING,
    {
        200: Told(
            "The file.",
            {"text/html": _TEXT, "text/plain": _TEXT, "image/svg+xml": _TEXT, "image/png": _BYTES, JSON: {}},
            (_POLICY,),
        )
    },
    (errors.RouteNotFound,),
    given=Opaque("path", limits.UI_REPORT_PATH_CHARS_MAX, "As the list has it: folder and page, or a file beside it."),
)
PAGE: Final = Operation(
    parameters.NOTHING,
    {200: Told("The page.", {"text/html": _TEXT}, (_TAG, _POLICY)), 304: _UNCHANGED},
    headers=(_KNOWN,),
)
PAGE_FILE: Final = Operation(
    parameters.NOTHING,
    {
        200: Told(
            "The file.",
            dict.fromkeys(("text/html", "text/css", "text/javascript", "image/svg+xml", "text/plain"), _TEXT),
            (_TAG, _POLICY),
        ),
        304: _UNCHANGED,
    },
    (errors.RouteNotFound,),
    given=Parameter("file", "Its name.", {"type": "string", "enum": sorted(ui.files())}),
    headers=(_KNOWN,),
)
