"""Mail the disk usage to a list of readers on each working day at seven.

Start a worker: `typedq worker examples.report_mailer.tasks:app`. It also fires the cron entry. With
several workers, each morning's report is still sent once.
"""

import os
import shutil
import smtplib
from datetime import date
from email.message import EmailMessage
from zoneinfo import ZoneInfo

from typedq import Context, Retry, TypedQ

ZONE = "Europe/Berlin"
app = TypedQ("reports", soft_timeout=60, hard_timeout=120)


@app.task
def report(ctx: Context) -> None:
    """Enqueue one mail per reader, so one full mailbox does not delay the others."""
    day = ctx.due.astimezone(ZoneInfo(ZONE)).date()  # the day of the slot, also if this runs late
    readers = os.environ["REPORT_READERS"].split(",")
    app.enqueue_many(mail.call(reader, day) for reader in readers)


# smtplib raises OSErrors, also for a mail server's "try again later".
@app.task(retry=Retry(max_retries=10, on=OSError, backoff=1, factor=3, max_backoff=3600))
def mail(to: str, day: date) -> None:
    """Mail the report of a day. Its Message-ID lets a mail server recognize a second copy."""
    total, used, _ = shutil.disk_usage("/")
    message = EmailMessage()
    message["Message-ID"] = f"<{day}.{to}>"
    message["From"], message["To"] = "reports@example.org", to
    message["Subject"] = f"{day:%A, %d %B}: {used / total:.0%} full"
    message.set_content(f"{used >> 30} of {total >> 30} GiB are in use.")
    host, _, port = os.environ["REPORT_SMTP"].partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=30) as server:
        server.send_message(message)


app.cron(os.environ.get("REPORT_CRON", "0 7 * * 1-5"), report.call(), tz=ZONE, catch_up="once")
