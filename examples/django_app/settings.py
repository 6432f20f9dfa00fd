"""The fewest settings that Django needs."""

import os

SECRET_KEY = os.environ.get("COMMENTS_SECRET", "for development only")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("COMMENTS_DATABASE", "comments.sqlite"),
    }
}
INSTALLED_APPS = ["examples.django_app"]
ROOT_URLCONF = "examples.django_app.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
