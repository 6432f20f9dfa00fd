"""One page, and a task enqueued by it."""

from functools import partial

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from examples.django_app.models import Subscriber
from examples.django_app.tasks import welcome


@transaction.atomic
def subscribe(request: HttpRequest) -> JsonResponse:
    reader, _ = Subscriber.objects.get_or_create(email=request.POST["email"])
    # A worker is quick: before the commit it would not find the row.
    transaction.on_commit(partial(welcome.enqueue, reader.pk))
    return JsonResponse({"reader": reader.pk}, status=202)


urlpatterns = [path("subscribe", subscribe)]
