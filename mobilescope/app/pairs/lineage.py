"""What a session's slides are, by their pictures' digests: by these the same slide is known under another name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilescope.data.mosaics import Mosaic
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session

_DIGITS = 32


def lineage(session: Session) -> dict[str, Any]:
    """Return the digests that a pair file keeps of its slides, JSON-ready.

    ``captures_sha256`` has one for each phone capture of a slide: of the raw frame, or of the JPEG where there is none.
    ``scans_sha256`` has one for all tiles of a slide.
    """
    captures, scans = {}, {}
    for slide in session.slides:
        captures[slide.name] = [
            (capture.sha256 if capture.cfa else capture.jpeg_sha256)[:_DIGITS]
            for capture in session.captures(slide.name)
        ]
        tiles = sorted(tile.checksum for tile in session.tiles(slide.name))
        if tiles:
            scans[slide.name] = hashlib.sha256("".join(tiles).encode("ascii")).hexdigest()[:_DIGITS]
    return {"captures_sha256": captures, "scans_sha256": scans}


def made_of(session: Path, provenance: dict[str, Any], captures: Sequence[CaptureRecord]) -> str:
    """Return a digest of all that decides a pair file: session, settings, software, mosaics, where captures lie."""
    digest = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode("utf-8"))
    digest.update(repr([(each.slide, each.index, each.position) for each in captures]).encode("utf-8"))
    for slide, captures in sorted(provenance["captures_sha256"].items()):
        if captures:
            with Mosaic.open(session, slide) as mosaic:
                digest.update(json.dumps([slide, mosaic.shape, mosaic.provenance], sort_keys=True).encode("utf-8"))
                digest.update(mosaic.tile_positions_px.tobytes())
    return digest.hexdigest()


def slide_digests(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (digest, slide) of everything that names a slide in a pair file's provenance; older files have nothing."""
    for slide, digests in (provenance.get("captures_sha256") or {}).items():
        for digest in digests:
            yield digest, slide
    for slide, digest in (provenance.get("scans_sha256") or {}).items():
        yield digest, slide
