"""`/docs`: the API as a page for people, made of the same document as `/openapi.json`. Nothing in it comes from
elsewhere, and nothing in it runs.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import Any, Final

from kvstore.http import openapi
from kvstore.http.routes import by_path

_REF: Final = "#/components/schemas/"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --read: #067a55; --write: #a04800; --remove: #b02a2a; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
code, .path { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; }
summary .path { font-weight: 600; }
details > div { padding: 0 .75rem .5rem; }
.method { border-radius: .25rem; color: #fff; display: inline-block; font: 700 .75rem/1.6 ui-monospace, monospace;
  margin-right: .5rem; min-width: 4.2rem; text-align: center; }
.get { background: var(--read); } .put, .post { background: var(--write); } .delete { background: var(--remove); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--soft); padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
.faint { opacity: .75; }
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# What a browser may do with the page: show it.
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


@cache
def encoded() -> bytes:
    """The page, made when it is asked for the first time."""
    return page(openapi.document(by_path())).encode()


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI `document`."""
    info = document["info"]
    operations = [
        _operation(document, path, method, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if method != "head"  # as GET, without the body
    ]
    schemas = [_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}: HTTP API</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}: HTTP API</h1><p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. HEAD goes wherever GET goes.</p>'
        f"<main><h2>Operations</h2>{''.join(operations)}<h2>Shapes</h2>{''.join(schemas)}</main></body></html>\n"
    )


def _operation(document: Mapping[str, Any], path: str, method: str, told: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(told['description'])}</p>"] if "description" in told else []
    if told["parameters"]:
        rows = [
            (_code(each["name"]), escape(each["in"]), _type(each["schema"]), escape(each["description"]))
            for each in told["parameters"]
        ]
        parts.append(_table(("parameter", "in", "values", ""), rows))
    if "requestBody" in told:
        bodies = _bodies(told["requestBody"]).items()
        parts.append(_table(("body", "shape"), [(_code(media), _type(body["schema"])) for media, body in bodies]))
    answers = [_answer(document, status, answer) for status, answer in told["responses"].items()]
    parts.append(_table(("answer", "", "body"), answers))
    return (
        f'<details id="{escape(told["operationId"])}"><summary><span class="method {method}">{method.upper()}</span>'
        f'<span class="path">{escape(path)}</span> <span class="faint">{escape(told["summary"])}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _answer(document: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> tuple[str, str, str]:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    by_shape: dict[str, list[str]] = {}
    for media, body in _bodies(answer).items():
        by_shape.setdefault(_type(body["schema"]), []).append(_code(media))
    bodies = "<br>".join(f"{', '.join(media)}: {shape}" for shape, media in by_shape.items())
    return _code(status), escape(answer["description"]), bodies


def _bodies(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = told.get("content", {})
    return found


def _code(text: object) -> str:
    return f"<code>{escape(str(text))}</code>"


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(schema.get('description', ''))}</p>"]
    if "properties" in schema:
        needed = schema.get("required", ())
        rows = [
            (_code(each), _type(of), "" if each in needed else "may be left out")
            for each, of in schema["properties"].items()
        ]
        parts.append(_table(("member", "values", ""), rows))
    else:
        parts.append(f"<p>{_type(schema)}</p>")
    return (
        f'<details id="shape-{escape(name)}"><summary><span class="path">{escape(name)}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are markup already."""
    head = "".join(f"<th>{each}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _type(schema: Mapping[str, Any]) -> str:
    """What a schema says, in a few words of markup."""
    match schema:
        case {"$ref": str(ref)}:
            name = escape(ref.removeprefix(_REF))
            return f'<a href="#shape-{name}">{name}</a>'
        case {"anyOf": [*some]} | {"oneOf": [*some]}:
            return " or ".join(map(_type, some))
        case {"allOf": [first, *_]}:
            return _type(first)
        case {"enum": [*values]}:
            return " or ".join(map(_code, values)) + _default(schema)
        case {"const": value}:
            return _code(value)
        case {"type": "array"}:
            return f"a list of {_type(schema['items'])}" if schema.get("items") else "a list"
        case {"type": [*kinds]}:
            return " or ".join(_type({**schema, "type": kind}) for kind in kinds)
        case {"contentSchema": within}:
            return f"lines, each {_type(within)}"
    words = [_KINDS.get(schema.get("type", ""), escape(schema.get("type", "anything")))]
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words.append(f"{low:,} to {high:,}")
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']:,} characters")
    if schema.get("contentEncoding") == "base64":
        words.append("base64")
    words += [f"like {_code(example)}" for example in schema.get("examples", ())[:1]]
    return ", ".join(words) + _default(schema)


_KINDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "<code>true</code> or <code>false</code>",
    "object": "an object",
    "null": "<code>null</code>",
}


def _default(schema: Mapping[str, Any]) -> str:
    return f"; {_code(schema['default'])} if not given" if "default" in schema else ""
