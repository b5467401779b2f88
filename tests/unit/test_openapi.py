"""The OpenAPI document: it has every route and nothing else, names what the parsers take, and tells of every error.

That it is valid OpenAPI is held against the schema of OpenAPI 3.1 that schemathesis brings along.
"""

import json
import re
from types import SimpleNamespace
from typing import Any, get_type_hints

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from kvstore.errors import BadRequest, Compacted, KvError, Overloaded, Unavailable, _leaves
from kvstore.http import openapi, parse
from kvstore.http.problems import ProblemBody
from kvstore.http.routes import ROUTES, Route, by_path

DOCUMENT: dict[str, Any] = json.loads(openapi.encoded())
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def refs(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(refs(each) for each in part.values()))
    return set().union(*(refs(each) for each in part)) if isinstance(part, list) else set()


def schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_it_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    OPENAPI_31_VALIDATOR.validate(DOCUMENT)
    with pytest.raises(jsonschema_rs.ValidationError):
        OPENAPI_31_VALIDATOR.validate(DOCUMENT | {"paths": {"/a": {"get": {"responses": 5}}}})


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_json_schema(name: str) -> None:
    jsonschema_rs.Draft202012Validator(schema_of(name))


def test_every_reference_leads_somewhere() -> None:
    there = {f"#/components/{kind}/{name}" for kind, parts in DOCUMENT["components"].items() for name in parts}
    there -= {"#/components/securitySchemes/token"}  # which is named, not referred to
    assert refs(DOCUMENT) == there
    mapped = re.findall(r'"(#/components/[^"]+)"', json.dumps(DOCUMENT))
    assert set(mapped) <= refs(DOCUMENT)


def test_it_has_every_route_and_nothing_else() -> None:
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {(method, path) for path, methods in by_path().items() for method in methods}
    assert {(route.method, route.path) for route in ROUTES} <= told


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_says_what_it_is_for(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert all(answer.get("description") or answer["$ref"] for answer in operation["responses"].values())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_stands_in_the_path_is_named(route: Route) -> None:
    parameters = DOCUMENT["paths"][route.path][route.method.lower()]["parameters"]
    assert [each["name"] for each in parameters if each["in"] == "path"] == re.findall(r"\{(\w+)\}", route.path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_the_parameters_it_names_are_those_that_the_handler_takes(route: Route) -> None:
    """The handlers parse the query before anything else, so that an unknown parameter is all that they see here."""
    with pytest.raises(BadRequest) as refused:
        await route.handler(None, SimpleNamespace(headers={}), "1", "no_such_parameter=1")  # type: ignore[arg-type]
    known = re.search(r"known here: (.*)$", refused.value.detail)
    parameters = DOCUMENT["paths"][route.path][route.method.lower()]["parameters"]
    assert sorted(each["name"] for each in parameters if each["in"] == "query") == (
        known[1].split(", ") if known else []
    )


@pytest.mark.parametrize(
    ("parse_options", "query"),
    [
        (parse.write_options, "level=two"),
        (parse.transaction_options, "level=one"),
        (parse.range_options, "level=all"),
        (parse.range_delete_options, "prefix=&level=one"),
    ],
)
def test_a_level_that_is_not_named_is_refused(parse_options: Any, query: str) -> None:
    with pytest.raises(BadRequest):
        parse_options(query)


def test_every_bound_of_a_number_is_where_the_parser_has_it() -> None:
    options = {parse.put_options: "PUT /v1/kv/{key}", parse.read_options: "GET /v1/kv/{key}"}
    options |= {parse.range_options: "GET /v1/kv"}
    for parser, name in options.items():
        method, path = name.split()
        for parameter in DOCUMENT["paths"][path][method.lower()]["parameters"]:
            schema = parameter["schema"]
            if parameter["in"] == "query" and schema["type"] == "integer":
                level = "&level=one" if parameter["name"] == "max_staleness_ms" else ""
                for good in (schema["minimum"], schema["maximum"]):
                    parser(f"{parameter['name']}={good}{level}")
                for bad in (schema["minimum"] - 1, schema["maximum"] + 1):
                    with pytest.raises(BadRequest):
                        parser(f"{parameter['name']}={bad}{level}")


def test_every_error_of_the_tree_is_documented_somewhere() -> None:
    told = {
        (problem["status"]["const"], code)
        for answer in DOCUMENT["components"]["responses"].values()
        if "content" in answer
        for problem in [answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]]
        for code in problem["code"]["enum"]
    }
    # That of no route: a method that it does not have.
    routed = [cls for cls in _leaves(KvError) if cls is not KvError and cls.code not in _NO_ROUTE]
    assert told == {(cls.status, cls.code) for cls in routed}


_NO_ROUTE = ("method_not_allowed",)


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("no", level="one"),
        Overloaded("later"),
        Unavailable("nobody", read=True, missing=("n1",), required=2, acked=1),
        Compacted.at(7, "gone"),
    ],
)
def test_a_problem_is_as_its_schema_says(error: KvError) -> None:
    jsonschema_rs.Draft202012Validator(schema_of("ProblemBody")).validate(error.to_problem())
    assert set(error.to_problem()) - {"revision"} == set(get_type_hints(ProblemBody)) - {"revision"}


@pytest.mark.parametrize(
    ("name", "body", "valid"),
    [
        ("WriteBody", b'{"key":"a","revision":1,"version":1,"level":"all","required":1,"acked":1,"outcome":"committed"'
         b',"receipt":null}', True),
        ("LeaseKey", b'{"key_base64":"/w=="}', True),
        ("LeaseKey", b"{}", False),
        ("LeaseKey", b'{"key":"a","key_base64":"YQ=="}', False),
        ("PutStep", b'{"op":"put","key":"a","value_base64":""}', True),
        ("PutStep", b'{"op":"put","key":"a"}', False),
        ("GetStep", b'{"op":"get","key":""}', False),
        ("GrantBody", b'{"ttl_seconds":0.5}', False),
        ("BatchBody", b'{"ops":[{"op":"get","key":"a"}],"session":1,"floor":null}', True),
        ("BatchBody", b'{"ops":[{"op":"get","key":"a"}],"more":1}', False),
    ],
)  # fmt: skip
def test_what_a_schema_takes(name: str, body: bytes, valid: bool) -> None:
    assert jsonschema_rs.Draft202012Validator(schema_of(name)).is_valid(msgspec.json.decode(body)) is valid
