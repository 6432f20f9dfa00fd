"""The tasks. A task takes a key, not a model, because the row may change before it runs."""

from django.db import transaction
from django.db.utils import OperationalError

from examples.django_app.background import app
from examples.django_app.models import Comment
from typedq import Retry


@app.task(retry=Retry(max_retries=8, on=OperationalError))
def count_words(comment: int) -> None:
    """Count the words of a comment, if it still exists. A second run changes nothing."""
    with transaction.atomic():
        found = Comment.objects.select_for_update().filter(pk=comment).first()
        if found:
            found.words = len(found.text.split())
            found.save(update_fields=["words"])
