"""Log connections in: as the user of the URL, or with what a credential provider returns."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast, final

import redis
from redis.credentials import CredentialProvider

Answer = str | tuple[str] | tuple[str, str]


class HasCredentials(Protocol):
    """A `CredentialProvider` of redis-py, or any object with its method."""

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return (password,) or (user name, password)."""
        ...


Credentials = HasCredentials | Callable[[], Answer | Awaitable[Answer]]


@final
class Login(CredentialProvider):
    """The credential provider that redis-py calls at every connect.

    `provider` is redis-py's CredentialProvider or a callable, sync or async, that returns a
    password or (user, password). Without one, the login is that of the URL.
    """

    def __init__(
        self, username: str | None, password: str | None, provider: Credentials | None = None
    ) -> None:
        self.provider = provider
        self._username, self._password = username, password or ""

    def get_credentials(self) -> Any:
        """Return (user, password). Raises CredentialsFailed."""
        if self.provider is None:
            return self._checked(self._password)
        ask: Any = self.provider
        if hasattr(ask, "get_credentials"):
            ask = ask.get_credentials
        try:
            answer = ask()
            return self._checked(_wait_for(answer) if inspect.isawaitable(answer) else answer)
        except Exception as error:
            raise CredentialsFailed from error

    async def get_credentials_async(self) -> Any:
        """Do as `get_credentials`; a provider that is not async is called in another thread."""
        if self.provider is None:
            return self._checked(self._password)
        ask: Any = self.provider
        if hasattr(ask, "get_credentials"):
            # redis-py's default implementation only calls the sync method, and logs a warning.
            default: Any = CredentialProvider.get_credentials_async
            own: Any = getattr(ask, "get_credentials_async", None)
            inherited = own is None or getattr(own, "__func__", own) is default
            ask = ask.get_credentials if inherited else ask.get_credentials_async
        is_async = any(map(inspect.iscoroutinefunction, (ask, type(ask).__call__)))
        try:
            answer = ask() if is_async else await asyncio.to_thread(ask)
            return self._checked(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:
            raise CredentialsFailed from error

    def _checked(self, answer: Any) -> tuple[str, str]:
        words: list[Any] = [answer] if isinstance(answer, str) else []
        if isinstance(answer, tuple | list):
            words = list(cast("Sequence[Any]", answer))
        if len(words) not in (1, 2) or not all(isinstance(word, str) for word in words):
            raise TypeError("it must return a password or (user, password)")
        self._password = str(words[-1])
        return str(words[0]) if words[1:] else self._username or "default", self._password

    def scrub(self, text: str) -> str:
        """Remove the password from a server's reply: some quote a command they do not know."""
        return text.replace(self._password, "***") if self._password else text


class CredentialsFailed(redis.ConnectionError):
    """The credential provider raised an error or returned an unusable value."""

    def __str__(self) -> str:
        return f"credentials= failed: {type(self.__cause__).__name__}: {self.__cause__}"


def _wait_for(answer: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await answer

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    with ThreadPoolExecutor(1) as pool:  # called inside a running loop
        return pool.submit(asyncio.run, main()).result()
