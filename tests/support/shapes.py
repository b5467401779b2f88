"""What members a JSON document has, written so that people can read it and a test can compare it."""

from typing import Any

_ALIKE_MIN = 3


def shape_of(value: Any) -> str:
    """`{a, b: {c}, d: [{e}]}`: names in order, and below them only what has names of its own. An object whose members
    are all alike is a table: `{NAME: {c}}`.
    """
    if isinstance(value, list):
        shapes = list(dict.fromkeys(shape_of(each) for each in value))
        inner = [shape for shape in shapes if shape]
        return f"[{' or '.join(inner)}]" if inner else "[]"
    if not isinstance(value, dict):
        return ""
    below = {name: shape_of(each) for name, each in value.items()}
    alike = set(below.values())
    if len(below) >= _ALIKE_MIN and len(alike) == 1 and "" not in alike:
        return f"{{NAME: {alike.pop()}}}"
    return "{" + ", ".join(name if not shape else f"{name}: {shape}" for name, shape in below.items()) + "}"
