"""A Django project for the tests; its database and namespace come from the environment."""

import json
import os

from django import VERSION

SECRET_KEY = "for tests only"
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
INSTALLED_APPS = ["typedq.django", "tests.django.project"]
if VERSION < (6,):
    INSTALLED_APPS.append("django_tasks")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TYPEDQ = json.loads(os.environ["SHOP_TYPEDQ"])
TASKS = {
    "default": {
        "BACKEND": "typedq.django.backend.TypedQBackend",
        **json.loads(os.environ.get("SHOP_TASKS", "{}")),
    }
}
