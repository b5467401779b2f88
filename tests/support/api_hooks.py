"""What schemathesis has to know of this API beside its document; loaded by it, not by a test.

OpenAPI cannot say which parameters go together, so that most of what it makes as valid would be refused before anything
is asked of the store. Where a request is meant to be valid, one of two that exclude each other is taken out.
"""

import os
import re
from typing import Any

import msgspec
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

MSGPACK = "application/msgpack"
# In its coverage phase schemathesis 4.32 knows no valid value of headers with a pattern, and puts an invalid one into
# every request; and one idempotency key, so that the second request under it is a conflict.
TESTED_ALONE = ("If-Match", "KV-Session", "KV-Stamp", "Last-Event-ID", "Idempotency-Key")
EXCLUDED = {
    "prefix": ("start", "end", "key"),
    "revision": ("min_revision", "max_staleness_ms"),
    "count_only": ("limit", "cursor"),
    "cursor": ("revision",),
}
# Against a real cluster, set by tests/support/api_fuzz.py: how long a request may ask to be waited for. New members are
# then all at an address where nobody listens, so that no stranger is dialed; and those that the cluster has stay, for
# schemathesis has learnt their names from answers.
TIMEOUT_MS_MAX = int(os.environ.get("API_FUZZ_TIMEOUT_MS", "0"))
NOBODY = "127.0.0.1:1"


@schemathesis.serializer(MSGPACK)
def packed(context: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # a whole number that msgpack has no room for: JSON in its place is no msgpack, and refused
        return msgspec.json.encode(value)


@schemathesis.deserializer(MSGPACK)
def unpacked(context: Any, response: Any) -> Any:
    return msgspec.msgpack.decode(response.content)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    phase = case.meta.phase
    if phase.name.name == "COVERAGE" and phase.data.parameter_location is not ParameterLocation.HEADER:
        for name in TESTED_ALONE:
            case.headers.pop(name, None)
    for name, value in list(case.headers.items()):
        if not isinstance(value, (str, bytes)):  # a number out of an answer, which its stateful phase sends back
            case.headers[name] = str(value)
    if case.meta.generation.mode is GenerationMode.POSITIVE:
        fit(case.query, case.headers)
        fit_body(case.body)
    if case.path == "/v1/watch":  # a stream without an end: read for so long. Its head has to be there by then.
        kwargs["timeout"] = 2.0 if TIMEOUT_MS_MAX else 0.2
    if TIMEOUT_MS_MAX:
        spare(case)


def spare(case: Any) -> None:
    if "timeout_ms" in {parameter.name for parameter in case.operation.query}:
        told = case.query.get("timeout_ms", TIMEOUT_MS_MAX)
        case.query["timeout_ms"] = TIMEOUT_MS_MAX if type(told) is int and 0 < told <= 600_000 else told
    if case.path == "/v1/cluster/members/{name}" and re.fullmatch("n[0-9]+", str(case.path_parameters.get("name"))):
        case.path_parameters["name"] = "nobody"
    if case.path == "/v1/cluster/members" and isinstance(case.body, dict) and isinstance(case.body.get("peer"), str):
        case.body["peer"] = re.sub(r"^.*:[0-9]{1,5}$", NOBODY, case.body["peer"], flags=re.DOTALL)


def fit(query: dict[str, Any], headers: Any) -> None:
    for name, others in EXCLUDED.items():
        if query.get(name):
            for other in others:
                query.pop(other, None)
    if query.get("level") == "one":
        query.pop("lease", None)
        for name in ("If-Match", "If-None-Match", "KV-Session"):
            headers.pop(name, None)
    else:
        query.pop("max_staleness_ms", None)
    if "If-Match" in headers:
        headers.pop("If-None-Match", None)
    if "KV-Session" in headers:
        headers.pop("Idempotency-Key", None)


def fit_body(part: Any) -> None:
    if isinstance(part, list):
        for each in part:
            fit_body(each)
    elif isinstance(part, dict):
        for each in part.values():
            fit_body(each)
        for name in [name for name in part if f"{name}_base64" in part]:
            del part[f"{name}_base64"]
        if "prefix" in part or "prefix_base64" in part:
            for name in ("start", "end", "start_base64", "end_base64"):
                part.pop(name, None)
