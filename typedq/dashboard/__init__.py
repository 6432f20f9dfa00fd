"""Show an app's queues, contracts and failed messages in a browser: an ASGI application."""

try:
    from typedq.dashboard.site import asgi
except ModuleNotFoundError as absent:
    name = str(absent.name).partition(".")[0]
    why = f"typedq.dashboard needs {name}: pip install 'typedq[dashboard]'"
    raise ModuleNotFoundError(why, name=name) from None

__all__ = ["asgi"]
