"""A task queue whose jobs have contracts, on Redis or Valkey."""

TYPE_CHECKING = False  # as type checkers know it; the module typing takes 10 ms to import

if TYPE_CHECKING:
    from typedq.public import *
else:

    def __getattr__(name):
        """Import public names and submodules on first use: `typedq health` takes milliseconds."""
        import sys

        if name[:1].isupper() or name == "__all__":
            from typedq import public

            globals().update({each: getattr(public, each) for each in public.__all__})
            if name in ("__all__", *public.__all__):
                return getattr(public, name)
        elif not name.startswith("_"):
            path = f"{__name__}.{name}"
            try:
                __import__(path)
            except ModuleNotFoundError as error:
                if error.name != path:
                    raise
            else:
                return sys.modules[path]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return [*globals(), *__getattr__("__all__")]
