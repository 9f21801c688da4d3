"""Who may use the page's server: a code that pairs one phone once, and the secret by which that phone comes back."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from mobilescope.core.errors import OutputError
from mobilescope.core.whole_files import own_temporary

# Crockford's alphabet: none of its letters is taken for another one or for a digit.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011", "- ")
_LETTERS = 16
CODE_LIFETIME_S = 900.0
_CLIENT_LIFETIME_S = 30 * 86400.0
_MOST_CLIENTS = 32


class PairingRefusedError(Exception):
    """A code or a secret that lets nobody in; the text says why."""


@dataclass(frozen=True)
class Client:
    """A phone that was paired; ``secret_digest`` is all that is kept of its secret."""

    identity: str
    name: str
    secret_digest: str
    paired_s: float


class PairingDesk:
    """Gives out codes, each good for one phone and a quarter of an hour, and knows the phones that it let in.

    Parameters
    ----------
    book : Path or None
        File that remembers paired phones from one run to the next; it holds no secret. None forgets them.
    """

    def __init__(self, book: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._book, self._clock = book, clock
        self._lock = Lock()
        self._open: dict[str, float] = {}
        self._used: set[str] = set()
        self._clients = {client.secret_digest: client for client in _read_book(book)}

    def new_code(self) -> str:
        """Return a code for one more phone, in groups of four letters; an earlier one that nobody used is void."""
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS))
        with self._lock:
            self._open = {_digest(letters): self._clock() + CODE_LIFETIME_S}
        return "-".join(letters[start : start + 4] for start in range(0, _LETTERS, 4))

    def check(self, code: str) -> None:
        """Refuse a code that would not pair; it is not used up by this."""
        digest = _digest(_normal(code))
        with self._lock:
            if digest in self._used:
                raise PairingRefusedError("this code was used already; ask for a new one")
            until_s = self._open.get(digest)
            if until_s is None:
                raise PairingRefusedError("this code is wrong or no longer good; scan the newest one")
            if self._clock() > until_s:
                raise PairingRefusedError("this code has expired; ask for a new one")

    def redeem(self, code: str, name: str) -> tuple[Client, str]:
        """Use a code up; return the client and the secret that only its phone will know."""
        self.check(code)
        secret = secrets.token_urlsafe(32)
        client = Client(secrets.token_hex(4), name, _digest(secret), time.time())
        with self._lock:
            if self._open.pop(_digest(_normal(code)), None) is None:
                raise PairingRefusedError("this code was used already; ask for a new one")
            self._used.add(_digest(_normal(code)))
            self._clients[client.secret_digest] = client
            for oldest in sorted(self._clients.values(), key=lambda each: each.paired_s)[:-_MOST_CLIENTS]:
                del self._clients[oldest.secret_digest]
            self._write_book()
        return client, secret

    def recognise(self, secret: str) -> Client:
        """Return the phone that a secret belongs to."""
        with self._lock:
            client = self._clients.get(_digest(secret))
        if client is None or time.time() - client.paired_s > _CLIENT_LIFETIME_S:
            raise PairingRefusedError("this phone is not paired here; scan the code in the terminal")
        return client

    def forget_all(self) -> None:
        """Let no phone back in without a new code."""
        with self._lock:
            self._clients = {}
            self._write_book()

    def _write_book(self) -> None:
        if self._book is None:
            return
        text = json.dumps([asdict(client) for client in self._clients.values()], indent=1)
        try:
            self._book.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with own_temporary(self._book, mode=0o600) as temporary:
                temporary.path.write_text(text, encoding="utf-8")
                temporary.path.replace(self._book)
        except OSError as error:
            raise OutputError(f"{self._book} can't be written: {error.strerror}", "check its permissions") from error


def _read_book(book: Path | None) -> list[Client]:
    """Return the clients of a book; a damaged one only means that phones pair again."""
    if book is None:
        return []
    try:
        return [Client(**entry) for entry in json.loads(book.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _normal(code: str) -> str:
    return code.upper().translate(_READ_AS)


def _digest(text: str) -> str:
    """Return a digest to look texts up by: how long a look-up takes then tells nothing about them."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
