"""The comments of readers."""

from __future__ import annotations

from django.db import models


class Comment(models.Model):
    text: models.TextField[str, str] = models.TextField()
    words: models.IntegerField[int | None, int | None] = models.IntegerField(null=True)
