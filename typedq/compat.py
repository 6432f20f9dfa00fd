"""Comparing two JSON Schema documents, without Redis and without importing anybody's code."""

from typedq.contracts.compatibility import Change, Comparison, Rule, compare

__all__ = ["Change", "Comparison", "Rule", "compare"]
