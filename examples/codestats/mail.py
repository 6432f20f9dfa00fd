"""Mail over SMTP: the client that the task uses, and the mail server that the demo runs."""

from __future__ import annotations

import asyncio
import os
import smtplib
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

SENDER = "codestats@example.org"


def send(id: str, *, to: str, subject: str, text: str) -> None:
    """Send through the server at CODESTATS_SMTP. Raises OSError, as smtplib does."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, to, subject
    message["Message-ID"] = f"<{id}@codestats.example.org>"
    message.set_content(text)
    host, _, port = os.environ["CODESTATS_SMTP"].rpartition(":")
    # With a fixed name, smtplib does not look up the name of this machine.
    with smtplib.SMTP(host, int(port), local_hostname="localhost", timeout=10) as server:
        server.send_message(message)


class MailServer:
    """A mail server on a free port. It refuses the first mail with "try again later"."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refused = 0
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Accept or refuse a mail. aiosmtpd prescribes the name of this method."""
        if not self.refused:
            self.refused += 1
            return "451 4.7.1 greylisted, try again later"
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 2.0.0 accepted"

    async def _listen(self) -> str:
        def protocol() -> SMTP:
            return SMTP(self, hostname="localhost", loop=self._loop)

        self._server = await self._loop.create_server(protocol, "127.0.0.1", 0)
        return "{}:{}".format(*self._server.sockets[0].getsockname())

    def __enter__(self) -> Self:
        self._thread.start()
        self.address = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
