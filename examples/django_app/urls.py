"""One page that enqueues a task."""

from functools import partial

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from examples.django_app.models import Comment
from examples.django_app.tasks import count_words


@transaction.atomic
def write(request: HttpRequest) -> JsonResponse:
    comment = Comment.objects.create(text=request.POST["text"])
    # Before the commit, a worker would not find the row.
    transaction.on_commit(partial(count_words.enqueue, comment.pk))
    return JsonResponse({"comment": comment.pk}, status=202)


urlpatterns = [path("comments", write)]
