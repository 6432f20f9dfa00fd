"""Render templates. Everything shown may be hostile: it is escaped, and made visible."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from typedq.admin.messages import age
from typedq.errors import escape

MAX_TEXT: Final = 32_768  # characters of one payload or schema
MAX_LINE: Final = 300  # characters of one error in a table


def visible(value: object) -> object:
    """Return text with control, bidi and other unprintable characters escaped, but line ends."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return value if value.isprintable() else "\n".join(map(escape, value.split("\n")))


def cut(text: str, length: int = MAX_LINE) -> str:
    """Return the beginning of a text, on one line."""
    line = text.replace("\n", " ")
    return line if len(line) <= length else f"{line[:length]}…"


def pretty(value: object, *, sort: bool = False) -> str:
    """Return JSON with indentation; a text that is not JSON as it is. `sort`: by key."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value) if len(value) <= MAX_TEXT else value
        if isinstance(value, str):
            return value
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=sort)


def number(value: object) -> str:
    """Return a number with separators."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def moment(value: str | None) -> str:
    """Return ISO 8601 as date and time to the second."""
    return f"{value[:10]} {value[11:19]}" if value else "-"


def rate(value: float) -> str:
    """Return a rate per second as a text that is right for its size."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Return a length of time, or a dash."""
    return age(seconds) or "-"


@cache
def environment() -> Any:
    """Return the templates of this package."""
    made: Any = Environment(
        loader=PackageLoader("typedq.dashboard"),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (cut, pretty, number, moment, rate, duration)
    made.filters.update({filter.__name__: filter for filter in shown})
    made.globals["max_text"] = MAX_TEXT
    return made


def render(template: str, values: dict[str, Any]) -> str:
    """Return a page."""
    return str(environment().get_template(template).render(values))
