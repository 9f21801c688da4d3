"""The certificate for HTTPS in a local network, where no authority vouches for anybody."""

from __future__ import annotations

import datetime
import hashlib
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from mobilescope.core.errors import OutputError
from mobilescope.core.whole_files import own_temporary

# Browsers refuse certificates for servers that hold longer than 825 days, or 398 of public authorities.
_LIFETIME = datetime.timedelta(days=397)
_RENEW = datetime.timedelta(days=14)


@dataclass(frozen=True)
class Certificate:
    """A server's certificate with its key, in one file, and the fingerprint that a phone shows of it."""

    file: Path
    fingerprint: str


def certificate_for(names: Sequence[str], folder: Path) -> Certificate:
    """Return the certificate of these addresses, made anew where the kept one does not hold for them any more.

    It is kept so that a phone asks only once whether to trust it. The key of the authority that signed it is not kept:
    nobody can sign another one with it.
    """
    file, notes = folder / "certificate.pem", folder / "certificate.json"
    now = datetime.datetime.now(datetime.UTC)
    if not _holds(file, notes, names, now):
        _write(file, notes, names, now)
    der = ssl.PEM_cert_to_DER_cert(_first_certificate(file.read_text(encoding="ascii")))
    digest = hashlib.sha256(der).hexdigest().upper()
    return Certificate(file, ":".join(digest[start : start + 2] for start in range(0, len(digest), 2)))


def _holds(file: Path, notes: Path, names: Sequence[str], now: datetime.datetime) -> bool:
    try:
        kept = json.loads(notes.read_text(encoding="utf-8"))
        until = datetime.datetime.fromisoformat(kept["until"])
        return file.is_file() and set(names) <= set(kept["names"]) and now + _RENEW < until
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(file: Path, notes: Path, names: Sequence[str], now: datetime.datetime) -> None:
    until = now + _LIFETIME
    authority = trustme.CA(organization_name="Mobilescope on this computer")
    issued = authority.issue_cert(*names, not_after=until)
    pem = issued.private_key_pem.bytes() + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with own_temporary(file, mode=0o600) as temporary:
            temporary.path.write_bytes(pem)
            temporary.path.replace(file)
        notes.write_text(json.dumps({"names": sorted(names), "until": until.isoformat()}), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file} can't be written: {error.strerror}", "check the folder's permissions") from error


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = pem.index(begin)
    return pem[start : pem.index(end, start) + len(end)] + "\n"
