"""Who reads the newsletter."""

from __future__ import annotations

from django.db import models


class Subscriber(models.Model):
    email: models.EmailField[str, str] = models.EmailField(unique=True)
    welcomed: models.BooleanField[bool, bool] = models.BooleanField(default=False)
