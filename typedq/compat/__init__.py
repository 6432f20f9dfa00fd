"""Compare two JSON Schema documents: what changed, and which way the change is safe. No I/O."""

from typedq.compat.comparison import Change, Comparison, compare, read_schema
from typedq.compat.rules import Rule

__all__ = ["Change", "Comparison", "Rule", "compare", "read_schema"]
