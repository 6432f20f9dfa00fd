"""Which plain values a schema allows: bounds, steps, patterns, and what text stands for.

Every question has three answers: True, False, and None where this module cannot decide.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any, cast

import msgspec

from typedq.contracts.dialect import Budget
from typedq.contracts.json_tree import is_object, text_of

Facets = Mapping[str, Any]  # keywords of one schema that apply to one kind of value
Limit = tuple[Any, bool]  # the bound, and whether it is itself excluded

TEXT_KEYWORDS = ("format", "contentEncoding", "x-typedq-type")
NOT_TEXT = frozenset(("bytes", "utf8-bytes"))
NUMERIC_KEYS = frozenset(("integer", "number"))  # text in the names of members
_BY_FORMAT = {"date-time": "aware-datetime", "time": "aware-time"}
# Text of these forms may be read as plain text without a change of meaning.
READABLE = frozenset(
    (
        "aware-datetime", "aware-time", "color", "date", "datetime", "decimal", "directory-path",
        "duration", "email", "file-path", "hostname", "idn-email", "idn-hostname", "ipv4",
        "ipv4interface", "ipv4network", "ipv6", "ipv6interface", "ipv6network", "ipvanyaddress",
        "ipvanyinterface", "ipvanynetwork", "iri", "iri-reference", "json-pointer",
        "multi-host-uri", "naive-datetime", "naive-time", "name-email", "password", "path",
        "regex", "relative-json-pointer", "time", "timedelta", "timedelta-years", "uri",
        "uri-reference", "uri-template", "uuid", "uuid1", "uuid3", "uuid4", "uuid5", "uuid6",
        "uuid7", "uuid8", "windows-path", "zoneinfo",
    )
)  # fmt: skip
_FORMATS = READABLE - frozenset(
    ("datetime", "decimal", "naive-datetime", "naive-time", "timedelta", "timedelta-years")
)
_DATE = r"\d{4}-\d\d-\d\d"
_TIME, _ZONE = r"\d\d:\d\d:\d\d(\.\d+)?", r"([Zz]|[+-]\d\d:\d\d)"
_SPAN = r"(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
_SYNTAX = {
    "date": _DATE,
    "aware-datetime": f"{_DATE}[Tt ]{_TIME}{_ZONE}",
    "naive-datetime": f"{_DATE}[Tt ]{_TIME}",
    "datetime": f"{_DATE}[Tt ]{_TIME}{_ZONE}?",
    "aware-time": f"{_TIME}{_ZONE}",
    "naive-time": _TIME,
    "time": f"{_TIME}{_ZONE}?",
    "timedelta": rf"-?P(?=.){_SPAN}",
    "timedelta-years": rf"-?P(?=.)(\d+Y)?{_SPAN}",
    "uuid": "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "decimal": r"-?\d+(\.\d+)?([Ee][-+]?\d+)?",
    "integer": "-?(0|[1-9][0-9]*)",
    "number": r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?",
}
# By `x-typedq-type`: the lengths of such text as it is written. A format alone promises nothing.
LENGTHS: Mapping[str, tuple[int, float]] = {
    "date": (10, 10),
    **dict.fromkeys(("datetime", "aware-datetime", "naive-datetime"), (19, math.inf)),
    **dict.fromkeys(("time", "aware-time", "naive-time"), (8, math.inf)),
    **dict.fromkeys(("timedelta", "timedelta-years"), (3, math.inf)),
    "uuid": (36, 36),
    "decimal": (1, math.inf),
}
# What Python reads such text as, if it matches the syntax.
_TYPES: Mapping[str, Any] = {
    "date": dt.date,
    **dict.fromkeys(("datetime", "aware-datetime", "naive-datetime"), dt.datetime),
    **dict.fromkeys(("time", "aware-time", "naive-time"), dt.time),
    "timedelta": dt.timedelta,
    "decimal": Decimal,
}
_MAX_DIGITS = 400
_LARGE = 1e30
_NEARLY = 10**9  # pydantic takes what is off by less than this part of the number
_EXACTLY = Context(prec=2_000)  # more than these can need
_SPANS = frozenset(("timedelta", "timedelta-years"))
_LIMITS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))


def text_form(facets: Facets) -> str:
    """Return what the text of a string stands for; "" for plain text."""
    if form := facets.get("x-typedq-type"):
        return str(form)
    if encoding := facets.get("contentEncoding"):
        if "format" in facets:
            return f"{facets['format']} in {encoding} text"
        return "bytes" if encoding == "base64" else f"{encoding} text"
    form = str(facets.get("format", ""))
    return _BY_FORMAT.get(form, form) if form in _FORMATS | _BY_FORMAT.keys() else _foreign(form)


def _foreign(format: str) -> str:
    return f"{format} text" if format else ""


def limits(facets: Facets, *, whole: bool) -> tuple[Limit | None, Limit | None]:
    """Return the tightest bounds; of whole numbers, the last ones allowed."""
    if _LIMITS.isdisjoint(facets):
        return None, None
    lows = [(facets[k], x) for k, x in (("minimum", 0), ("exclusiveMinimum", 1)) if k in facets]
    highs = [(facets[k], -x) for k, x in (("maximum", 0), ("exclusiveMaximum", 1)) if k in facets]
    low, high = max(lows, default=None), min(highs, default=None)
    if whole:
        low = low and ((math.floor(low[0]) + 1 if low[1] else math.ceil(low[0])), 0)
        high = high and ((math.ceil(high[0]) - 1 if high[1] else math.floor(high[0])), 0)
    return low and (low[0], bool(low[1])), high and (high[0], bool(high[1]))


def divides(step: Any, value: Any) -> bool | None:
    """Return whether `value` is a multiple of `step`; None if that depends on how one divides.

    Decoders calculate in binary: there 0.3 is no multiple of 0.1, though another may write it.
    Others divide floats and look for a whole quotient, which a large number always has.
    Numbers of another size than people use are left open: they take long.
    """
    if isinstance(step, int) and isinstance(value, int):
        return value % step == 0
    if step < 1 / _LARGE or abs(value) > _LARGE:
        return None
    rest = _EXACTLY.remainder(Decimal(str(value)), Decimal(str(step))).copy_abs()
    binary = not _EXACTLY.remainder(Decimal(value), Decimal(step))
    if not rest:
        return True if binary else None
    nearly = min(rest, Decimal(str(step)) - rest) <= abs(Decimal(value)) / _NEARLY
    return None if binary or nearly else False


def decimal_facets(facets: Facets) -> dict[str, Any] | None:
    """Return the bounds in `x-typedq-decimal` as keywords of numbers; None if not understood.

    `max_digits` and `decimal_places` keep their names; `allow_inf_nan` is there if it is true.
    """
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    names |= {"multiple_of": "multipleOf"}
    found = dict[str, Any]()
    given: Any = facets.get("x-typedq-decimal", {})
    for name, value in given.items() if is_object(given) else (("", given),):
        text = str(value)
        if name == "allow_inf_nan" and text in ("True", "False"):
            found |= {name: True} if text == "True" else {}
        elif name in ("max_digits", "decimal_places") and re.fullmatch("[0-9]{1,9}", text):
            found[name] = int(text)
        elif name in names and (number := _small_decimal(text)) is not None:
            if name == "multiple_of" and number <= 0:
                return None
            found[names[name]] = number
        else:
            return None
    return found


def _small_decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text if len(text) <= _MAX_DIGITS else "NaN")
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < _MAX_DIGITS else None


# --- patterns -------------------------------------------------------------------------------------

# Syntax that means the same in ECMAScript, Python and Rust, for text of printable ASCII.
_CLASS = r"\[\^?+(?:[^\]\[\\&~|]|\\[dws\\./+*?()\[\]{}|^$-])++\]"
_PORTABLE = re.compile(
    rf"(?:{_CLASS}|\\[dws\\./+*?()\[\]{{}}|^$-]|\(\?:|\((?!\?)|[^\\\[\](){{}}*+?]|\)|"
    r"\{\d{1,2}(?:,\d{0,2})?\}|[*+?])*+"  # possessive: a foreign pattern is read only once
)
_MAX_PATTERN, _MAX_TEXT = 200, 100


def matches(pattern: str, text: str, budget: Budget) -> bool | None:
    """Return whether `pattern` is found in `text`; None if the pattern could take long or differ.

    Backtracking takes at most about length ** (branches + 1) steps.
    """
    plain = len(text) <= _MAX_TEXT and text.isascii() and text.isprintable()
    if not plain or len(pattern) > _MAX_PATTERN or not _PORTABLE.fullmatch(pattern):
        return None
    bare = re.sub(_CLASS, "a", re.sub(r"\\.", "a", pattern)).replace("(?:", "(")
    alternatives = bare.count("|")
    loops = len(re.findall(r"[*+?]|\{\d+,", bare))
    if re.search(r"\)[*+?{]|[*+?}][*+{]", bare) or loops > 2 or bare.count("(") > 2:
        return None
    budget.spend(1 + (len(text) + 1) ** (1 + loops) * (1 + alternatives) // 1000)
    try:
        return re.search(pattern, text) is not None
    except (re.error, OverflowError):
        return None


# --- values ---------------------------------------------------------------------------------------


def equality_key(value: Any) -> str:
    """Return a text that is the same for values that JSON Schema calls equal, as 1 and 1.0."""
    plain = value is None or isinstance(value, str | int)
    return text_of(value if plain else _whole_floats(value))


def _whole_floats(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [*map(_whole_floats, cast("list[Any]", value))]
    if is_object(value):
        return {key: _whole_floats(item) for key, item in value.items()}
    return value


def number_fits(facets: Facets, value: Any, *, whole: bool) -> bool | None:
    """Return whether a number satisfies the bounds of its schema."""
    low, high = limits(facets, whole=whole)
    if low is not None and (value < low[0] or (low[1] and value == low[0])):
        return False
    if high is not None and (value > high[0] or (high[1] and value == high[0])):
        return False
    mask = facets.get("x-typedq-mask")
    if mask is not None and not (isinstance(value, int) and not value & ~mask):
        return False
    return divides(facets["multipleOf"], value) if "multipleOf" in facets else True


def text_fits(facets: Facets, value: str, budget: Budget) -> bool | None:
    """Return whether text satisfies its schema: its form, length, bytes, bounds and pattern."""
    form = text_form(facets)
    answers = [_form_fits(form, value)]
    answers.append(facets.get("minLength", 0) <= len(value) <= facets.get("maxLength", math.inf))
    if "x-typedq-minBytes" in facets or "x-typedq-maxBytes" in facets:
        size = len(value) // 4 * 3 - value.count("=") if form == "bytes" else len(value.encode())
        low, high = facets.get("x-typedq-minBytes", 0), facets.get("x-typedq-maxBytes", math.inf)
        answers.append(low <= size <= high)
    if form in NUMERIC_KEYS and answers[0]:
        number = int(value) if form == "integer" else float(value)
        known = math.isfinite(number)
        answers.append(number_fits(facets, number, whole=form == "integer") if known else None)
    elif "pattern" in facets:
        answers.append(matches(facets["pattern"], value, budget))
    if "x-typedq-decimal" in facets:
        answers.append(_decimal_fits(facets, value) if answers[0] else None)
    return False if False in answers else None if None in answers else True


def _form_fits(form: str, value: str) -> bool | None:
    if form in ("", "utf8-bytes"):
        return True
    if form == "bytes":
        try:  # there are decoders that refuse what no encoder writes
            return b64encode(b64decode(value, validate=True)).decode() == value or None
        except ValueError:
            return False
    if form not in _SYNTAX or len(value) > _MAX_TEXT:
        return None
    if not value.isascii() or re.fullmatch(_SYNTAX[form], value) is None:
        return False
    try:  # there is no 31 February, and a duration has a limit, which is not the same everywhere
        msgspec.convert(value, _TYPES.get(form, str))
    except msgspec.ValidationError:
        return None
    return None if form in _SPANS and re.search("[0-9]{7}", value) else True


def _decimal_fits(facets: Facets, value: str) -> bool | None:
    bounds, number = decimal_facets(facets), _small_decimal(value)
    if bounds is None or number is None or bounds.keys() & {"max_digits", "decimal_places"}:
        return None
    return number_fits(bounds, number, whole=False)
