"""docs/http-api.md names all that the door knows: routes, parameters, headers, codes, bounds."""

import re
from pathlib import Path

import msgspec
import pytest

from kvstore import limits
from kvstore.errors import KvError, Unavailable, _leaves
from kvstore.http import batch, call_table
from kvstore.http.routes import ROUTES
from kvstore.state.settings import IDEMPOTENCY_WINDOW_MS, SESSION_ANSWERS_MAX, SESSION_WINDOW_MS, default_settings

PAGE = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")


def test_the_table_of_all_calls_is_that_of_today() -> None:
    assert call_table.renewed(PAGE) == PAGE, "python -m kvstore.http docs/http-api.md"
    for route in ROUTES:
        assert f"| `{'GET' if route.method == 'HEAD' else route.method} {route.path}` |" in PAGE


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        call_table.renewed("# A page\n")


@pytest.mark.parametrize(
    "name",
    sorted({each.name for route in ROUTES for each in route.operation.query.parameters} | {"lost_writes"}),
)
def test_every_parameter(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize(
    "header",
    sorted(
        {each.name for route in ROUTES for each in route.operation.headers}
        | {each.name for route in ROUTES for told in route.operation.answers.values() for each in told.headers}
        | {"Retry-After", "X-Request-Id"}
    ),
)
def test_every_header(header: str) -> None:
    assert header in PAGE


@pytest.mark.parametrize("error", [cls for cls in _leaves(KvError) if cls not in (KvError, Unavailable)])
def test_every_code_stands_in_the_row_of_its_status(error: type[KvError]) -> None:
    rows = [line for line in PAGE.splitlines() if re.match(rf"\| [0-9, ]*\b{error.status}\b", line)]
    assert [row for row in rows if re.search(rf"\b{error.code}\b", row)]


@pytest.mark.parametrize("shape", [batch.BatchBody, batch.GetOp, batch.DeleteOp, batch.PutOp])
def test_every_member_of_a_batch(shape: type[msgspec.Struct]) -> None:
    for name in shape.__struct_fields__:
        assert re.search(rf'"{name}"|`{name}`', PAGE), name


def test_the_bounds() -> None:
    settings = default_settings()
    assert settings[IDEMPOTENCY_WINDOW_MS] == settings[SESSION_WINDOW_MS] == 600_000
    for text in (
        f"{limits.HTTP_BODIES_BYTES_MAX >> 20} MiB together",
        f"{limits.HTTP_CONNECTIONS_MAX:,} connections",
        f"1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes",
        f"{settings[SESSION_ANSWERS_MAX]:,} answers of a session",
        f"up to {limits.BATCH_OPS_MAX:,} independent operations",
        f"more than {limits.BATCH_OPS_MAX:,} operations",
        f"The body of a batch has at most {limits.BATCH_BODY_BYTES_MAX >> 20} MiB",
        f"values in one answer have {limits.BATCH_VALUES_BYTES_MAX >> 20} MiB together",
        f"within {limits.HTTP_BODY_READ_S_MAX:g} s",
        "ten minutes",
    ):
        assert text in PAGE


def test_the_client_keeps_within_what_a_session_keeps() -> None:
    assert default_settings()[SESSION_ANSWERS_MAX] >= limits.CLIENT_SESSION_WRITES_MAX
