"""Python packages: types as msgspec Structs, and a sender for each task."""
