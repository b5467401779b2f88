"""Handlers of the replicated settings."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from kvstore import limits
from kvstore.errors import BadRequest
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.asked import asked
from kvstore.http.kv import Door
from kvstore.http.once import shaped
from kvstore.model.changeable import CHANGEABLE


class NewValue(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/settings/{name}`."""

    value: Annotated[int, Meta(ge=1, le=limits.REVISION_MAX)]


class SettingBody(msgspec.Struct):
    """A replicated setting, and what it may be."""

    value: int
    min: int
    max: int
    unit: str


class SettingsBody(msgspec.Struct):
    """All that can be changed. `feature_level`: what every member is known to know."""

    feature_level: int
    settings: dict[str, SettingBody]


async def get_settings(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """The replicated settings that can be changed, with their bounds."""
    return await _told(door, request, parse.timeout_option(query))


async def put_setting(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Change a replicated setting, on all nodes at once."""
    timeout_s = parse.timeout_option(query)
    name = parse.key_of(raw_key).decode(errors="replace")
    body, _ = await asked(door, request, NewValue)
    bounds = CHANGEABLE.get(name)
    if bounds is None:
        raise BadRequest(f"there is no setting of this name; there are {', '.join(CHANGEABLE)}")
    if not bounds.allow(body.value):
        raise BadRequest(f"{name} is between {bounds.least:,} and {bounds.most:,} {bounds.unit}")
    await door.store.change_setting(name, body.value, timeout_s=timeout_s)
    return await _told(door, request, timeout_s)


async def _told(door: Door, request: web.BaseRequest, timeout_s: float) -> Answer:
    level, values = await door.store.settings(timeout_s=timeout_s)
    told = {
        name: SettingBody(values[name], bounds.least, bounds.most, bounds.unit) for name, bounds in CHANGEABLE.items()
    }
    return shaped(door, request, 200, SettingsBody(level, told))
