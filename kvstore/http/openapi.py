"""`/openapi.json`: the route table as an OpenAPI 3.1 document, for programs that make clients, pages and tests of it.

Everything in it is derived: paths and methods from the table, the rest from the operation that stands beside each
handler (`operations.py`). Pure functions.
"""

import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import UnsetType
from msgspec import inspect as shapes_of

import kvstore
from kvstore.http.answer import PROBLEM
from kvstore.http.operations import (
    ANY,
    CLOSED,
    NAMED_IN_STREAMS,
    REF,
    REQUEST_ID,
    RETRY_AFTER,
    STAMP,
    WWW_AUTHENTICATE,
    Header,
    Shape,
    Told,
    ref,
)
from kvstore.http.parameters import Parameter
from kvstore.http.problems import ProblemBody
from kvstore.http.routes import Route, by_path

VERSION: Final = "3.1.0"

_ABOUT: Final = (
    "Raw bytes in, raw bytes out; JSON where there is structure, application/msgpack where Accept asks for it. Any "
    "node takes any request. An unknown parameter is refused. docs/http-api.md says what the levels promise, and "
    "what an error's outcome means."
)
# What can be answered before it is known what was asked: whether it was a read is not known then, either.
_BEFORE_ROUTING: Final = frozenset(error.status for error in ANY)


@cache
def encoded() -> bytes:
    """The document, made when it is asked for the first time."""
    return msgspec.json.encode(document(by_path()))


def document(table: dict[str, dict[str, Route]]) -> dict[str, Any]:
    """The document of all routes: path to method to route."""
    routes = [route for methods in table.values() for route in methods.values()]
    structs = _structs(routes)
    _, components = msgspec.json.schema_components(structs, ref_template=REF)
    for struct in _within(structs):
        _correct(components[struct.__name__], struct)
    return {
        "openapi": VERSION,
        "info": {"title": "kvstore", "version": kvstore.__version__, "description": _ABOUT},
        "paths": {
            path: {method.lower(): _operation(route) for method, route in methods.items()}
            for path, methods in table.items()
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "While auth is enabled."}},
            "schemas": components,
            "responses": {name: found for route in routes for name, found in _problems(route).values()},
            "headers": {
                _header_name(header): {"description": header.about, "required": header.always, "schema": header.schema}
                for header in _answered(routes)
            },
        },
    }


# -- one operation


def _operation(route: Route) -> dict[str, Any]:
    about, head = route.operation, route.method == "HEAD"
    summary, _, more = (inspect.getdoc(route.handler) or "").replace("\n", " ").partition(". ")
    found: dict[str, Any] = {
        "operationId": f"head_{route.handler.__name__}" if head else route.handler.__name__,
        "summary": summary.rstrip(".") + (": the head of the answer only" if head else ""),
        "parameters": [
            *([_parameter(about.given, "path")] if about.given else ()),
            *(_parameter(each, "query") for each in about.query.parameters),
            *(_request_header(each) for each in (*about.headers, REQUEST_ID)),
        ],
        "responses": {str(status): _answer(told, head=head) for status, told in about.answers.items()}
        | {str(status): {"$ref": f"#/components/responses/{name}"} for status, (name, _) in _problems(route).items()},
        "x-permission": route.permission.about,
        # While auth is not enabled nobody is asked, so none is an alternative everywhere.
        "security": [] if route.permission.of == "open" else [{"token": []}, {}],
    }
    if more:
        found["description"] = more
    if about.body is not None:
        found["requestBody"] = {"content": _content(about.body), "required": any(map(_needed, about.body.values()))}
    return found


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "required": place == "path",
        "schema": parameter.schema,
    }


def _request_header(header: Header) -> dict[str, Any]:
    return {"name": header.name, "in": "header", "description": header.about, "schema": header.schema}


def _header_name(header: Header) -> str:
    return header.name if header.always else f"{header.name}.if-any"


def _headers(headers: Iterable[Header]) -> dict[str, Any]:
    return {header.name: {"$ref": f"#/components/headers/{_header_name(header)}"} for header in headers}


def _answered(routes: Iterable[Route]) -> Iterator[Header]:
    """The headers of all answers."""
    yield from (REQUEST_ID, STAMP, RETRY_AFTER, WWW_AUTHENTICATE)
    for route in routes:
        for told in route.operation.answers.values():
            yield from told.headers


def _needed(shape: Shape) -> bool:
    """Whether an empty body says too little: it is read as a struct of which nothing is given."""
    return not isinstance(shape, dict) and any(field.required for field in msgspec.structs.fields(shape))


def _content(content: Any) -> dict[str, Any]:
    return {media: {"schema": _schema(shape)} for media, shape in content.items()}


def _schema(shape: Shape) -> dict[str, Any]:
    return shape if isinstance(shape, dict) else ref(shape)


def _answer(told: Told, *, head: bool) -> dict[str, Any]:
    found = {"description": told.about, "headers": _headers((*told.headers, REQUEST_ID))}
    return found if head else found | {"content": _content(told.content)}


def _problems(route: Route) -> dict[int, tuple[str, dict[str, Any]]]:
    """An answer for each status of an error, with the codes that it has; and its name, the same for the same answer."""
    codes: dict[int, set[str]] = {}
    closed = CLOSED if route.permission.of != "open" else ()
    for error in (*ANY, *closed, *route.operation.errors):
        codes.setdefault(error.status, set()).add(error.code)
    return {status: _problem(status, sorted(codes[status]), route) for status in sorted(codes)}


def _problem(status: int, codes: list[str], route: Route) -> tuple[str, dict[str, Any]]:
    headers = [REQUEST_ID, *([STAMP] if route.levelled else ()), *([RETRY_AFTER] if status in (429, 503) else ())]
    headers += [WWW_AUTHENTICATE] if status == 401 else []
    found = {"description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}", "headers": _headers(headers)}
    read, head = route.read and status not in _BEFORE_ROUTING, route.method == "HEAD"
    if not head:
        only = {"status": {"const": status}, "code": {"enum": codes}} | ({"outcome": {"type": "null"}} if read else {})
        found["content"] = {PROBLEM: {"schema": {"allOf": [ref(ProblemBody), {"properties": only}]}}}
    kinds = {"levelled": route.levelled, "read": read, "head": head}
    return ".".join([str(status), *codes, *(kind for kind, so in kinds.items() if so)]), found


# -- the shapes


def _structs(routes: Iterable[Route]) -> list[type[msgspec.Struct]]:
    """Those that the routes name, each once."""
    found: dict[type[msgspec.Struct], None] = dict.fromkeys((ProblemBody, *NAMED_IN_STREAMS))
    for route in routes:
        about = route.operation
        for content in (about.body or {}, *(told.content for told in about.answers.values())):
            found |= {shape: None for shape in content.values() if not isinstance(shape, dict)}
    return list(found)


def _within(structs: Iterable[type[msgspec.Struct]]) -> list[type[msgspec.Struct]]:
    """All structs that these are made of, themselves among them."""
    found: dict[type[msgspec.Struct], None] = {}

    def walk(shape: Any) -> None:
        if isinstance(shape, shapes_of.StructType) and shape.cls not in found:
            found[shape.cls] = None
            for field in shape.fields:
                walk(field.type)
        for inner in (*getattr(shape, "types", ()), getattr(shape, "item_type", None), getattr(shape, "type", None)):
            if inner is not None:
                walk(inner)

    for shape in shapes_of.multi_type_info(structs):
        walk(shape)
    return list(found)


def _correct(schema: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    """Say what msgspec does not: what is left out where it is UNSET; of which pairs exactly one is there."""
    hints = get_type_hints(struct)
    left_out = {name for name, hint in hints.items() if UnsetType in get_args(hint)}
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in left_out]
    pairs = [
        {"oneOf": [{"required": [name]}, {"required": [f"{name}_base64"]}]} for name in getattr(struct, "EITHER", ())
    ]
    if pairs:
        schema["allOf"] = pairs
