"""From a JSON Schema of the dialect to a TypeScript type, and the check of its values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from typedq.compat.values import text_form
from typedq.contracts.dialect import Schema
from typedq.contracts.json_tree import is_object
from typedq.generate.typescript.keywords import (
    ALTERED,
    BRANDS,
    IGNORED,
    KNOWN,
    PLAIN,
)
from typedq.generate.typescript.names import comment, literal, member
from typedq.generate.typescript.parts import (
    ANY,
    NEVER,
    Rendered,
    about,
    common_tag,
    element,
    facets_of,
    grouped,
    is_tag,
    joined,
    more,
    sizes,
    step,
    unsent,
    values,
    values_of,
)
from typedq.generate.typescript.patterns import NotTranslated, to_javascript

_EXACT = (1 << 53) - 1


class Renderer:
    """Renders the schemas of one document.

    name_of: a `$ref` -> the name of its definition; target: a `$ref` -> its schema
    unchecked: called with path and reason for what the type cannot say and the check cannot tell
    """

    def __init__(
        self,
        name_of: Callable[[str], str],
        target: Callable[[str], Schema],
        unchecked: Callable[[str, str], None],
    ) -> None:
        self._name_of, self._target, self._unchecked = name_of, target, unchecked

    def render(self, schema: Schema, path: str) -> Rendered:
        """Return the type of a schema. Raises NotExpressed."""
        if isinstance(schema, bool):
            return ANY if schema else NEVER
        known = schema.keys() - IGNORED
        if "$ref" in schema:
            self._only(schema, known, (), path)
            name = self._name_of(schema["$ref"])
            return Rendered(name, f"t.ref(() => {name})")
        if (told_apart := self._discriminated(schema, path)) is not None:
            return told_apart
        for key in ("anyOf", "oneOf"):
            if key in schema:
                self._only(schema, known, (key, "x-typedq-tags"), path)
                return self._union(schema[key], path)
        if "const" in schema or "enum" in schema:
            used = ("const", "enum", "type", "x-typedq-type", "x-typedq-lone-tag")
            self._only(schema, known, used, path)
            return values(schema)
        if "type" not in schema:
            self._only(schema, known, (), path)
            return ANY
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        made = [_KINDS[kind](self, schema, path) for kind in kinds]
        if text_form(schema) in ("integer", "number"):  # the text of a key
            kinds = [*kinds, text_form(schema)]
        for key in sorted(known - {"type"} - {k for kind in kinds for k in KNOWN[kind]}):
            self._leave(path, key)
        return joined(made) if len(made) > 1 else made[0]

    def _only(self, schema: Schema, known: set[str], used: tuple[str, ...], path: str) -> None:
        for key in sorted(known - set(used)):
            self._leave(path, key)
        if "x-typedq-tags" in known:
            self._leave(path, "x-typedq-tags")

    def _leave(self, path: str, key: str) -> None:
        self._unchecked(path, f"the keyword {key} here")

    # --- scalars ------------------------------------------------------------------------------

    def integer(self, schema: Schema, path: str) -> Rendered:
        low = [math.ceil(schema["minimum"])] if "minimum" in schema else []
        low += [math.floor(schema[k]) + 1 for k in ("exclusiveMinimum",) if k in schema]
        high = [math.floor(schema["maximum"])] if "maximum" in schema else []
        high += [math.ceil(schema[k]) - 1 for k in ("exclusiveMaximum",) if k in schema]
        facets = {"min": max(low, default=None), "max": min(high, default=None)}
        step = schema.get("multipleOf")
        if isinstance(step, float) and not step.is_integer():
            self._leave(path, "multipleOf")
            step = None
        facets |= {"step": int(step) if step else None, "mask": schema.get("x-typedq-mask")}
        small = low and high and min(low) >= -_EXACT and max(high) <= _EXACT
        given = {key: f"{value}n" for key, value in facets.items() if value is not None}
        return Rendered("number" if small else "t.Int", f"t.integer({facets_of(given)})")

    def number(self, schema: Schema, path: str) -> Rendered:
        names = {"minimum": "min", "maximum": "max"}
        names |= {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}
        given = {to: literal(float(schema[key])) for key, to in names.items() if key in schema}
        other = schema.get("not")
        if is_object(other) and other.get("type") == "integer":
            given["notWhole"] = "true"
        elif other is not None:
            self._leave(path, "not")
        return Rendered("number", f"t.float({facets_of(given)})")

    def string(self, schema: Schema, path: str) -> Rendered:
        form = text_form(schema)
        if form in ("integer", "number"):
            inner = self.integer(schema, path) if form == "integer" else self.number(schema, path)
            return Rendered("string", f"t.digits({inner.check}, {literal(form)})")
        names = {"x-typedq-minBytes": "minBytes", "x-typedq-maxBytes": "maxBytes"}
        if not form.endswith("bytes") or form == "utf8-bytes":
            names |= {"minLength": "min", "maxLength": "max"}
        given = {to: literal(schema[key]) for key, to in names.items() if key in schema}
        if form in BRANDS:
            given["form"] = literal(form)
        elif form not in PLAIN:
            self._unchecked(path, f"text of the form {form}")
        if "x-typedq-uuid" in schema:
            given["uuid"] = literal(schema["x-typedq-uuid"])
        if form == "decimal" and schema.get("not") != {"type": "number"}:
            given["numbers"] = literal("fractions" if "not" in schema else "all")
        given |= self._altered(schema, path)
        brand = f"t.{BRANDS[form]}" if form in BRANDS else "string"
        return Rendered(brand, f"t.text({facets_of(given)})")

    def _altered(self, schema: Schema, path: str) -> dict[str, str]:
        """What is done to a text before it is read, and its pattern."""
        altered: Any = schema.get("x-typedq-text", {})
        engine = "rust-regex"
        given = dict[str, str]()
        for key, value in altered.items() if is_object(altered) else [("x-typedq-text", altered)]:
            if key == "engine" and isinstance(value, str):
                engine = value.removesuffix(":0")
            elif key in ALTERED and value is True:
                given[ALTERED[key]] = "true"
            else:
                self._leave(path, f"x-typedq-text {key}")
        if "pattern" in schema:
            try:
                given["pattern"] = literal(to_javascript(schema["pattern"], engine))
            except NotTranslated as error:
                self._unchecked(path, f"the pattern has {error}")
        return given

    # --- arrays and objects -------------------------------------------------------------------

    def array(self, schema: Schema, path: str) -> Rendered:
        given = sizes(schema, "Items")
        if "prefixItems" not in schema and "x-typedq-elements" not in schema:
            item = self.render(schema.get("items", True), f"{path}[*]")
            many = f"readonly {grouped(item.type)}[]"
            if schema.get("uniqueItems"):
                given["unique"] = "true"
                many = f"{many} | ReadonlySet<{item.type}>"
            return Rendered(many, f"t.list({item.check}{more(given)})")
        prefix = schema.get("prefixItems", [])
        items = [self.render(one, f"{path}[{i}]") for i, one in enumerate(prefix)]
        least, names = schema.get("minItems", 0), schema.get("x-typedq-elements", [])
        parts = [
            element(one.type, names[i] if i < len(names) else "", i, optional=i >= least)
            for i, one in enumerate(items)
        ]
        if schema.get("items") not in (None, False):
            rest = self.render(schema["items"], f"{path}[*]")
            given["rest"] = rest.check
            parts.append(f"...rest: {grouped(rest.type)}[]")
        elif schema.get("items") is False:
            most = min(len(items), schema.get("maxItems", len(items)))
            given["max"] = literal(most)
        checks = ", ".join(one.check for one in items)
        return Rendered(f"readonly [{', '.join(parts)}]", f"t.tuple([{checks}]{more(given)})")

    def object(self, schema: Schema, path: str) -> Rendered:
        if "properties" not in schema:
            return self._map(schema, path)
        required, lone = schema.get("required", []), schema.get("x-typedq-lone-tag") is True
        lines, fields = list[str](), list[str]()
        for name, part in schema["properties"].items():
            never = None if name in required else unsent(part)
            made = never or self.render(part, f"{path}{step(name)}")
            tag = lone and name not in required and is_tag(part)
            need = "" if name in required else ', "tag"' if tag else ', "optional"'
            check = f"t.tag({values_of(part)[0]})" if tag else made.check
            optional = "" if name in required else "?"
            lines.append(
                f"{comment(about(part), '  ')}  readonly {member(name)}{optional}: {made.type};\n"
            )
            fields.append(f"  [{literal(name)}, {check}{need}],\n")
        rest = self._rest(schema, path)
        body = "".join(fields)
        check = f"t.record([\n{body}]{rest})" if fields else f"t.record([]{rest})"
        if rest and "refused" not in rest:
            lines.append("  readonly [name: string]: unknown;\n")
        if not lines:
            return Rendered("{ readonly [name: string]: never }", check)
        return Rendered("{\n" + "".join(lines) + "}", check, "".join(lines))

    def _rest(self, schema: Schema, path: str) -> str:
        for key in ("minProperties", "maxProperties", "propertyNames"):
            if key in schema:
                self._leave(path, f"{key} beside properties")
        if schema.get("additionalProperties", True) is False:
            return ', "refused"'
        if "additionalProperties" not in schema:
            return ""
        return f", {self.render(schema['additionalProperties'], f'{path}.*').check}"

    def _map(self, schema: Schema, path: str) -> Rendered:
        given = sizes(schema, "Properties")
        item = self.render(schema.get("additionalProperties", True), f"{path}.*")
        made = f"{{ readonly [name: string]: {item.type} }}"
        names: Any = schema.get("propertyNames", True)
        if names is not True:
            keys = self.render({"type": "string", **names} if is_object(names) else names, path)
            given["keys"] = keys.check
            if is_object(self._resolved(names)) and "enum" in self._resolved(names):
                made = f"{{ readonly [name in {keys.type}]?: {item.type} }}"
        return Rendered(made, f"t.map({item.check}{more(given)})")

    # --- unions -------------------------------------------------------------------------------

    def _union(self, members: list[Schema], path: str) -> Rendered:
        made = [self.render(one, path) for one in members]
        whole = [self._resolved(one) for one in members]
        records = [i for i, one in enumerate(whole) if is_object(one) and "properties" in one]
        maps = any(
            is_object(o) and o.get("type") == "object" and "properties" not in o for o in whole
        )
        name = common_tag([whole[i] for i in records])
        if len(records) < 2 or maps or name is None:
            return joined(made, alike=len(records) + maps > 1)
        pairs = ", ".join(
            f"[{values_of(whole[i]['properties'][name])[0]}, {made[i].check}]" for i in records
        )
        tagged = f"t.tagged({literal(name)}, [{pairs}])"
        others = [one.check for i, one in enumerate(made) if i not in records]
        types = " | ".join(dict.fromkeys(one.type for one in made))
        return Rendered(types, f"t.union({', '.join((*others, tagged))})" if others else tagged)

    def _discriminated(self, schema: dict[str, Any], path: str) -> Rendered | None:
        """Return a union whose records are told apart by a member, although it has a default."""
        names = schema.get("required", [])
        if schema.keys() - IGNORED != {"oneOf", "required"} or len(names) != 1:
            return None
        records = [one for one in map(self._resolved, schema["oneOf"]) if is_object(one)]
        parts: list[Schema] = [one.get("properties", {}).get(names[0], True) for one in records]
        tags = [tag for part in parts for tag in values_of(part)]
        is_told = len(parts) == len(schema["oneOf"]) and all(map(values_of, parts))
        if not is_told or len(set(tags)) < len(tags):
            return None
        made = [self.render(one, path) for one in schema["oneOf"]]
        both = list(zip(parts, made, strict=True))
        pairs = ", ".join(f"[{tag}, {one.check}]" for part, one in both for tag in values_of(part))
        kinds = [
            f"({one.type} & {{ readonly {member(names[0])}: {values(part).type} }})"
            for part, one in both
            if is_object(part)
        ]
        return Rendered(" | ".join(kinds), f"t.tagged({literal(names[0])}, [{pairs}])")

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(99):
            if not is_object(schema) or "$ref" not in schema:
                break
            schema = self._target(schema["$ref"])
        return schema


_KINDS: dict[str, Callable[[Renderer, Any, str], Rendered]] = {
    "null": lambda _renderer, _schema, _path: Rendered("null", "t.nothing"),
    "boolean": lambda _renderer, _schema, _path: Rendered("boolean", "t.bool"),
    "integer": Renderer.integer,
    "number": Renderer.number,
    "string": Renderer.string,
    "array": Renderer.array,
    "object": Renderer.object,
}
