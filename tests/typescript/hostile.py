"""A bundle whose every text tries to become code."""

from __future__ import annotations

from typing import Any

from typedq.bundle import Bundle, BundledTask

# Whoever runs one of these sets `globalThis.pwned`.
RUN = "globalThis.pwned = 1"
TEXTS = [
    f'"; {RUN}; "',
    f"'; {RUN}; '",
    f"`; {RUN}; `",
    f"${{{RUN}}}",
    f"*/ {RUN}; /*",
    f"\n{RUN}\n",
    f"\u2028{RUN}\u2029",
    f'\\"; {RUN}; //',
    f"]); {RUN}; t.text([",
    f"<!-- {RUN}\n--> {RUN}",
    f"\\u0022; {RUN}; //",
    f"\\x60; {RUN}; `${{{RUN}}}",
    f"/(?:{RUN})/.source; {RUN}",
    f"}}}}; {RUN}; const x = {{{{",
    f"\x85{RUN}\u2029\ufeff",
    f"# sourceMappingURL={RUN}",
    "(?<name>a)\\k<name>(?i:b)[\\p{L}&&\\q{ab}]",
    f"// @ts-nocheck\n{RUN}",
    "@ts-ignore",
    "/* @ts-ignore */",
    "</script>",
    "\0\r\n\x7f\u202e",
    "\U0001f600",
    *("__proto__", "constructor", "toString", "prototype", "then", "default", "class", "t", "any"),
    *("arguments", "eval", "undefined", "never", "symbol", "readonly", "Object", "valueOf"),
    *("hasOwnProperty", "__defineGetter__", "Infinity", "globalThis", "satisfies", "yield"),
    *("Form", "Brand", "ReadonlySet", "exports"),
    *("bundle", "Map", "Json", "Tasks", "import", "await", "string", "0", "a-b", "", " "),
]
_META = "".join(TEXTS)


def _schema(text: str) -> dict[str, Any]:
    inner = {"title": text, "description": text, "type": "object"}
    return {
        "title": text,
        "description": f"{text}{_META}",
        "type": "object",
        "properties": {
            text: {"enum": [text, "ok"], "default": text, "description": text},
            "other": {"$ref": f"#/$defs/{text.replace('~', '~0').replace('/', '~1')}"},
            "pattern": {"type": "string", "pattern": text.replace("\\", "/")},
            "array": {
                "type": "array",
                "prefixItems": [{"const": text}],
                "items": False,
                "x-typedq-elements": [text],
            },
            "set": {"type": "array", "items": {"enum": [text]}, "uniqueItems": True},
            "map": {
                "type": "object",
                "propertyNames": {"enum": TEXTS},
                "additionalProperties": {"type": "string", "format": text},
            },
            "union": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {text: {"enum": [f"{text}{n}"]}},
                        "required": [text],
                    }
                    for n in range(2)
                ]
            },
        },
        "required": [text],
        "$defs": {text: {**inner, "properties": {text: {"const": text}}, "required": [text]}},
    }


def _tasks() -> dict[str, BundledTask]:
    names = ["constructor", "then", "default", "a.b-c", "0", "class", "t"]
    made = [f"t{number}" for number in range(len(TEXTS) - len(names))] + names
    return {
        name: BundledTask(name, "then", _schema(text))
        for name, text in zip(made, TEXTS, strict=True)
    }


BUNDLE = Bundle("constructor", ("then", "default", "0"), "then", _tasks())
