"""The arguments of the no-op task: about 90 bytes of JSON."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0")
ONLY = os.environ.get("BENCH_TASK")  # the one task that this worker is measured with
PORT = urlsplit(URL).port or 6379
ARGUMENTS: dict[str, Any] = {
    "user_id": 123_456,
    "address": "someone@example.org",
    "template": "welcome-back",
    "urgent": False,
}
