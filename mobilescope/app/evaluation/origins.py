"""Where a pair file comes from: its session, that session's instrument and captures, and what its phone resolves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.acquisition.acquiring import phone_half_pitch_um
from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.config import InstrumentConfig, PhoneConfig, validate
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import UserError
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.imaging.colour import to_float, to_uint8
from mobilescope.imaging.jpeg import compress_to_ratio, decompress
from mobilescope.learn.evaluate import DevelopFunction


def session_of(path: Path, pairs: Path) -> Path | None:
    """Return the session that a pair file was made from: the path itself, or the file that stands beside the pairs.

    None where it is not there, or has become another session since.
    """
    if path != pairs:
        return path
    with PairStore.open(pairs) as store:
        name, digest = store.provenance.get("session"), store.provenance.get("session_digest")
    beside = pairs.with_name(str(name)) if name else None
    if beside is None or not beside.is_file():
        return None
    try:
        with Session.open(beside) as session:
            return beside if digest is None or session.digest() == digest else None
    except UserError:
        return None


def resolved_half_pitch_um(provenance: Mapping[str, Any], session: Path | None) -> float:
    """Return the finest line and space of the phone behind a pair file: its own word, the session's, or R18's."""
    told = provenance.get("phone_half_pitch_um")
    if isinstance(told, int | float):
        return float(told)
    if session is None:
        return PhoneConfig().half_pitch_um
    with Session.open(session) as opened:
        return phone_half_pitch_um(opened)


@contextmanager
def developed_captures(session: Path | None, pairs: Path) -> Iterator[DevelopFunction | None]:
    """Give what develops a pair's capture as the pair's input was developed; None where there is no session."""
    if session is None:
        yield None
        return
    with PairStore.open(pairs) as store:
        jpeg_ratio = store.provenance.get("jpeg_ratio")
        settings = store.provenance.get("development", {}).get("settings", {})
    development = validate(DevelopmentConfig, settings, source=str(pairs), prefix="development")
    with Session.open(session) as opened:
        captures = {(slide.name, capture.index): capture for slide in opened.slides
                    for capture in opened.captures(slide.name)}

        def develop(record: PairRecord) -> NDArray[np.uint16]:
            developed = develop_capture(opened, captures[record.slide, record.capture], development)
            if jpeg_ratio is None:
                return developed
            jpeg = compress_to_ratio(to_uint8(to_float(developed)), float(jpeg_ratio))
            return decompress(jpeg.data).astype(np.uint16) * np.uint16(257)

        yield develop


def instrument_of(session: Path | None, config: Path | None) -> tuple[InstrumentConfig, str]:
    """Return the instrument to measure with, and where it was described: a file, or the session.

    Raises
    ------
    UserError
        There is neither.
    """
    if config is not None:
        return load_instrument(config), str(config)
    if session is None:
        raise UserError(
            "there is no instrument to measure with", "give one: mobilescope --config scope.toml evaluate ..."
        )
    with Session.open(session) as opened:
        described = opened.header.instrument.get("instrument")
    return validate(InstrumentConfig, described, source=str(session), prefix="instrument"), str(session)
