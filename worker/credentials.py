"""Secrets in mounted files, read again when they are rotated: nothing restarts for a new password.

A file that cannot be read or makes no sense after the start changes nothing: what was read last still counts, and a
line in the log says so. At the start it is an error.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from worker.dintero.call import Credentials

# An unknown account makes us look at the file again: a stream of them must not make us read it all day.
_LOOK_AFTER = 1.0

log = structlog.wrap_logger(logging.getLogger(__name__))


class UnreadableError(Exception):
    """A line for each problem, naming the file and the place. Never holds a secret."""


class MountedSecret(SecretStr):
    """A secret that is read from its file each time it is asked for. Raises UnreadableError when it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = False
        super().__init__(_text(path))

    def get_secret_value(self) -> str:
        try:
            self._secret_value = _text(self._path) or self._secret_value
            self._said = False
        except UnreadableError as error:
            if not self._said:
                log.warning("secret_not_read", why=str(error))
            self._said = True
        return self._secret_value


class AccountsFile(Mapping[str, Credentials]):
    """The credentials of each account in a file. Raises UnreadableError when it is made."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._content = _bytes(path)
        self._accounts = _accounts(path, self._content)

    def __getitem__(self, account: str) -> Credentials:
        self._look()
        return self._accounts[account]

    def __contains__(self, account: object) -> bool:
        if account not in self._accounts:
            self._look()
        return account in self._accounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._accounts)

    def __len__(self) -> int:
        return len(self._accounts)

    def _look(self) -> None:
        if self._clock() - self._looked_at < _LOOK_AFTER:
            return
        self._looked_at = self._clock()
        try:
            content = _bytes(self._path)
            if content != self._content:
                self._content = content  # also if it is wrong: that is said once
                self._accounts = _accounts(self._path, content)
                log.info("accounts_read", accounts=len(self._accounts))
        except UnreadableError as error:
            log.warning("accounts_not_read", why=str(error))


class _Account(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)


# Not empty: without any credentials every create would be refused.
_ACCOUNTS = TypeAdapter(
    Annotated[dict[str, _Account], Field(min_length=1)], config=ConfigDict(hide_input_in_errors=True)
)


def _accounts(path: Path, content: bytes) -> dict[str, Credentials]:
    try:
        parsed = _ACCOUNTS.validate_json(content)
    except ValidationError as invalid:
        problems = invalid.errors(include_input=False, include_url=False)
        places = [f"{path}: {'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in problems]
        raise UnreadableError("\n".join(places)) from None
    return {account: Credentials(given.client_id, given.client_secret) for account, given in parsed.items()}


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode().strip()
    except UnicodeDecodeError:
        raise UnreadableError(f"{path}: is not text") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
