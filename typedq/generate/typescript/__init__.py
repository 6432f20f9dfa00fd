"""A folder of TypeScript: types of a bundle's contracts, their checks, and a client."""

from typedq.generate.typescript.module import typescript

__all__ = ["typescript"]
