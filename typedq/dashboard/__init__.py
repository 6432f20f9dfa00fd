"""Show an app's queues, contracts and failed messages in a browser: an ASGI application."""

from typedq.dashboard.site import asgi

__all__ = ["asgi"]
