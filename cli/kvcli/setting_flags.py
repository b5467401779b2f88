"""Command-line flags made from the table of settings in kvstore.config. A flag's help is the first sentence of the
setting's; `kv help settings` has all of it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from kvcli import completing
from kvstore.config import SETTINGS, Setting

_CONFIG: Final = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="TOML file with a [serve] table. [env: KV_CONFIG]",
    shell_complete=completing.files,
)


def setting_flags(names: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a flag for each setting, or for those with `names` only, and `--config`. The function gets them by
    their names, None or () where they were not given, and `config_path`: they go to `kvstore.config.load`.
    """
    wanted = set(names) or {setting.name for setting in SETTINGS}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = _CONFIG(command)
        for setting in reversed(SETTINGS):
            if setting.name in wanted:
                command = _option(setting)(command)
        return command

    return decorate


def first_sentence(text: str) -> str:
    """What has to be enough in a list of flags."""
    return re.split(r"(?<=[.;:])\s", text, maxsplit=1)[0].rstrip(".;:") + "."


def notes_of(setting: Setting) -> str:
    """Where else it can be given, and what holds without it."""
    default = "" if setting.default in ("", (), False) or setting.secret else f"; default: {_shown(setting)}"
    return f"[env: {setting.env}{default}]"


def _completes(setting: Setting) -> Any:
    if setting.choices:
        return completing.words(*setting.choices)
    return {"FILE": completing.files, "DIR": completing.directories}.get(setting.kind)


def _option(setting: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = f"{first_sentence(setting.help)} {notes_of(setting)}"
    # No default is given to click: it must stay visible what was given, and what only has its default.
    if setting.is_switch:
        return click.option(setting.flag, setting.name, is_flag=True, default=None, help=text)
    return click.option(
        setting.flag,
        setting.name,
        metavar=setting.kind,
        multiple=setting.repeatable,
        default=None,
        help=text,
        shell_complete=_completes(setting),
    )


def _shown(setting: Setting) -> str:
    if setting.unit == "bytes" and isinstance(setting.default, int):
        return f"{setting.default >> 20}MiB"
    return f"{setting.default} {setting.unit}".rstrip()
