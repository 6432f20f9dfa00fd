"""What is done in the background. A task takes a key, not a model: the row may have changed."""

from django.core.mail import send_mail
from django.db import transaction

from examples.django_app.background import app
from examples.django_app.models import Subscriber
from typedq import Retry


@app.task(retry=Retry(max_retries=8, on=OSError, backoff=10))
def welcome(subscriber: int) -> None:
    """Greet a reader: once, unless the worker dies between the mail and the commit."""
    with transaction.atomic():
        reader = Subscriber.objects.select_for_update().get(pk=subscriber)
        if not reader.welcomed:
            reader.welcomed = True
            reader.save()
            send_mail("Welcome", "Glad you are here.", None, [reader.email])
