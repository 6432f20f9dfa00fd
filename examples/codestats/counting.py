"""Count lines of code, comments and blank lines of one Python file by its tokens."""

from __future__ import annotations

import tokenize
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

LAYOUT = {
    *(tokenize.ENCODING, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


class NotPython(ValueError):
    """tokenize cannot read the file."""


class Lines(NamedTuple):
    """A line with both code and a comment is code; a docstring is a comment."""

    code: int
    comments: int
    blanks: int


def count(path: Path) -> Lines:
    """Count the lines of a file. Raises NotPython, OSError."""
    code, comments = set[int](), set[int]()
    try:
        with path.open("rb") as source:
            tokens = list(tokenize.tokenize(source.readline))
    except (SyntaxError, tokenize.TokenError, UnicodeDecodeError) as error:
        raise NotPython(f"{path.name}: {error}") from error
    at_start = True  # of a statement; a statement that is only a string is a docstring
    for token, following in pairwise(tokens):
        span = range(token.start[0], token.end[0] + 1)
        if token.type in LAYOUT:
            at_start = at_start or token.type == tokenize.NEWLINE
        elif token.type == tokenize.COMMENT:
            comments.update(span)
        else:
            alone = at_start and following.type == tokenize.NEWLINE
            (comments if alone and token.type == tokenize.STRING else code).update(span)
            at_start = False
    comments -= code
    total = tokens[-1].start[0] - 1  # the end marker has its own line
    return Lines(len(code), len(comments), total - len(code) - len(comments))
