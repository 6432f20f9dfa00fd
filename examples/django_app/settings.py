"""As few settings as Django can do with."""

import os

SECRET_KEY = os.environ.get("NEWSLETTER_SECRET", "for development only")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("NEWSLETTER_DATABASE", "newsletter.sqlite"),
    }
}
INSTALLED_APPS = ["examples.django_app"]
ROOT_URLCONF = "examples.django_app.urls"
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = os.environ.get("NEWSLETTER_MAILS", "mails")
