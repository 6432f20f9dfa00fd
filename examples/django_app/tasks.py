"""What is done in the background. A task takes a key, not a model: the row may have changed."""

from django.db import transaction
from django.db.utils import OperationalError

from examples.django_app.background import app
from examples.django_app.models import Comment
from typedq import Retry


@app.task(retry=Retry(max_retries=8, on=OperationalError))
def count_words(comment: int) -> None:
    """Count the words of a comment, if it is still there. To do so twice changes nothing."""
    with transaction.atomic():
        found = Comment.objects.select_for_update().filter(pk=comment).first()
        if found:
            found.words = len(found.text.split())
            found.save(update_fields=["words"])
