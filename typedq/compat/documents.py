"""One schema document: its references, and whether two parts of documents say the same."""

from __future__ import annotations

from typing import Any, TypeAlias

from typedq.contracts.canonical import ANNOTATIONS as NOT_ON_THE_WIRE
from typedq.contracts.canonical import DefinitionHashes, refine_hashes, wire
from typedq.contracts.json_tree import NOTHING, reachable, target, text_of

Schema: TypeAlias = Any  # a dict, True or False; whatever else is found where a schema should be
Json: TypeAlias = dict[str, Any]

# `$id` may change what references mean; the mark of the payload's form is compared elsewhere.
ANNOTATIONS = NOT_ON_THE_WIRE - {"$id"} | {"x-typedq-payload"}


class Document:
    """Reads one document, which must not change meanwhile."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self._targets: dict[str, Schema] = {}
        self._hashes: dict[int, DefinitionHashes] = {}

    def target(self, ref: object) -> Schema:
        """What a `$ref` points to; NOTHING if it is not in this document."""
        if not isinstance(ref, str):
            return NOTHING
        if ref not in self._targets:
            self._targets[ref] = target(self.root, ref)
        return self._targets[ref]

    def text(self, schema: Schema, other: Document) -> str:
        """What it says, annotations and names of `$defs` aside; to compare with `other`'s."""
        if id(other) not in self._hashes:
            sides = [reachable(side.root, side.target) for side in (self, other)]
            hashes = map(DefinitionHashes, refine_hashes(*sides))
            self._hashes[id(other)], other._hashes[id(self)] = hashes
        return text_of(wire(schema, self._hashes[id(other)]))


def same(left: Document, a: Schema, right: Document, b: Schema) -> bool:
    """Whether both say the same, annotations and names of `$defs` aside. False if in doubt."""
    return left.text(a, right) == right.text(b, left)
