"""Types that pydantic reads and writes: what its core schemas promise, as JSON Schema."""
