"""A guestbook that shows entries after a review: `flask --app examples.flask_app.web run`."""

from flask import Blueprint, Flask, request

from examples.flask_app import database
from examples.flask_app.tasks import review

pages = Blueprint("pages", __name__)


@pages.post("/")
def write() -> tuple[dict[str, int], int]:
    connection = database.database()
    done = connection.execute("INSERT INTO entries (text) VALUES (?)", (request.form["text"],))
    connection.commit()  # the task must find the row
    entry = done.lastrowid or 0
    review.enqueue(entry)
    return {"entry": entry}, 202


@pages.get("/")
def read() -> list[str]:
    rows = database.database().execute("SELECT text FROM entries WHERE shown ORDER BY id")
    return [text for (text,) in rows]


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(DATABASE="guestbook.sqlite", SPAM=["casino"])
    app.config.from_prefixed_env("GUESTBOOK")
    app.teardown_appcontext(database.close)
    app.register_blueprint(pages)
    return app
