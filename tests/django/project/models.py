"""What tasks write."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    text: models.TextField[str, str] = models.TextField(unique=True)
    read: models.TextField[str, str] = models.TextField(default="")
