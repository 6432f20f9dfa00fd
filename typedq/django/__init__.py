"""typedq for Django: `INSTALLED_APPS = ["typedq.django"]` and `TYPEDQ = {"namespace": "shop"}`."""

from typedq.django.application import app, enqueue_on_commit

__all__ = ["app", "enqueue_on_commit"]
