"""What changed between two contracts, and which way the change is safe."""

from typedq.contracts.compatibility.comparison import Change, Comparison, compare
from typedq.contracts.compatibility.rules import Rule

__all__ = ["Change", "Comparison", "Rule", "compare"]
