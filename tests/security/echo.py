"""Tasks whose arguments may be long or deep."""

from __future__ import annotations

import msgspec

from tests.faults.app import note
from typedq import Context, TypedQ


class Node(msgspec.Struct, omit_defaults=True):
    """One level of nesting, and those below."""

    child: Node | None = None


class Text(msgspec.Struct):
    """`{"text":"..."}`."""

    text: str


def text(size: int) -> Text:
    """A payload whose body has so many bytes."""
    return Text("x" * (size - len(b'{"text":""}')))


def nest(levels: int) -> Node:
    """A payload whose body nests so deep."""
    node = Node()
    for _ in range(levels - 1):
        node = Node(node)
    return node


def declare(app: TypedQ) -> None:
    @app.task
    def write(ctx: Context, text: Text) -> None:
        note(ctx, "end")

    @app.task
    def climb(ctx: Context, node: Node) -> None:
        note(ctx, "end")
