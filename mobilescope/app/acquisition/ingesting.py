"""Phone pictures that were taken elsewhere, put into a session: begun for them, or that of a scan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mobilescope.app.acquisition.acquiring import known_files, session_header
from mobilescope.app.acquisition.ingest_files import FoundPicture, Skipped, survey
from mobilescope.app.acquisition.ingest_tiles import TilesToIngest, check_tiles, put_tiles
from mobilescope.app.instruments.instrument import describe
from mobilescope.app.instruments.paper_benchtop import paper_benchtop
from mobilescope.app.mosaics.tile_folders import read_positions
from mobilescope.app.pictures.light_keeping import fitting_light, keep_light
from mobilescope.core.config import UNNAMED, InstrumentConfig
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.pair_link import INGESTED_ROW
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import LightState, PositionUm
from mobilescope.data.phone_light import LightPictures
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.capture_files import shown_name
from mobilescope.plans.job import JobPlan, Role

_LIGHT = LightState(on=True, red=0, green=0, blue=0, brightness=0.0, source="not recorded")
_NOWHERE = PositionUm(math.nan, math.nan, 0.0)


@dataclass(frozen=True)
class IngestOptions:
    """What is to be known about the pictures; None where the session or the instrument file tells.

    ``positions`` is a table ``file,x_um,y_um``; a picture that it does not name has an unknown position, NaN.
    ``benchtop`` are the slide's tiles.
    """

    slide: str | None = None
    role: Role | None = None
    stain: str | None = None
    pixel_um: float | None = None
    positions: Path | None = None
    plan: JobPlan | None = None
    benchtop: TilesToIngest | None = None


@dataclass(frozen=True)
class IngestResult:
    """What became of a folder's files."""

    session: Path
    slide: str
    added: int
    already: int
    unplaced: int
    untimed: int
    tiles: int
    duplicates: tuple[tuple[str, str], ...]
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "session": str(self.session), "slide": self.slide, "added": self.added, "already": self.already,
            "unplaced": self.unplaced, "untimed": self.untimed, "tiles": self.tiles,
            "duplicates": [{"file": copy, "of": first} for copy, first in self.duplicates],
            "skipped": [{"file": each.file, "reason": each.reason} for each in self.skipped],
        }


@dataclass
class _Tally:
    added: int = 0
    already: int = 0
    unplaced: int = 0
    untimed: int = 0
    tiles: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def ingest_folder(
    folder: Path,
    session: Path,
    config: InstrumentConfig,
    options: IngestOptions,
    *,
    source: str,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> IngestResult:
    """Put a folder's pictures into a session, in the order in which they were taken; what it has is not put again.

    Parameters
    ----------
    source : str
        Name of the instrument file, for messages.

    Raises
    ------
    UserError
        The slide, its pixel size or the session does not fit; nothing was written.
    InputFileError
        There is no picture that can be used, or the table of positions is not right.
    CancelledError
        When asked to stop; what was put in is kept, and the same call goes on.
    """
    stop = stop or StopToken()
    found = survey(folder, on_progress=on_progress, stop=stop)
    places = _places(folder, options.positions)
    tally = _Tally(skipped=list(found.skipped))
    begun, known = _existing(session)
    slide = _slide(session, begun, options)
    pixel_um = options.pixel_um or config.phone.pixel_um or _stated_pixel_um(session, begun, slide)
    if pixel_um is None:
        raise UserError(
            "the pitch of the phone's pixels at the specimen is not known",
            "give --pixel-um, or pixel_um in the instrument file's [phone]",
        )
    if begun is not None and options.benchtop is not None:
        with Session.open(session) as opened:
            check_tiles(opened, slide, options.benchtop)
    rest = _new(found.pictures, known, tally)
    header, rest = _header(session, begun, rest, config, options, slide, source, tally)
    pictures = _pictures(session, begun, rest)
    if begun is None and config.development.calibration is not None:
        fitting_light(config.development.calibration, header.phone_shape, pictures)
    with SessionWriter.create_or_resume(session, header, on_progress=on_progress) as writer:
        keep_light(writer, config.development.calibration, pictures)
        index = _next_index(session, slide)
        for done, picture in enumerate(rest, start=1):
            stop.raise_if_requested("ingesting")
            index += _put(writer, slide, index, picture, places, pixel_um, header.phone_shape, tally)
            on_progress(Progress(f"ingest {slide}", done, len(rest)))
        if options.benchtop is not None:
            tally.tiles, bad = put_tiles(writer, slide, options.benchtop, on_progress=on_progress, stop=stop)
            tally.skipped += bad
        _note_skipped(writer, session, tally.skipped)
    return IngestResult(
        session, slide, tally.added, tally.already, tally.unplaced, tally.untimed, tally.tiles,
        found.duplicates, tuple(tally.skipped),
    )


def _new(pictures: tuple[FoundPicture, ...], known: set[str], tally: _Tally) -> list[FoundPicture]:
    """Return the pictures of which the session has no file yet."""
    new = []
    for picture in pictures:
        if known.isdisjoint(picture.digests.values()):
            new.append(picture)
            continue
        tally.already += 1
        if picture.dng is not None and picture.digests[picture.dng] not in known:
            tally.skipped.append(Skipped(
                shown_name(picture.dng.name),
                "its JPEG is a capture of the session already, which takes no raw picture afterwards: ingest both into "
                "a new session",
            ))
    return new


def _note_skipped(writer: SessionWriter, session: Path, skipped: list[Skipped]) -> None:
    """Keep what was left out as events, once however often the folder is ingested."""
    with Session.open(session) as opened:
        noted = {event.text for event in opened.events()}
    for each in skipped:
        text = f"ingest left {each.file} out: {each.reason}"
        if text not in noted:
            writer.add_event("warning", text)


def _put(
    writer: SessionWriter, slide: str, index: int, picture: FoundPicture, places: dict[str, tuple[float, float]] | None,
    pixel_um: float, shape: tuple[int, int], tally: _Tally,
) -> int:
    """Put one picture into the session; return 1, or 0 where it can't be used."""
    read = _read(picture, shape, tally)
    if read is None:
        return 0
    place = next((places[path.name] for path in picture.files if path.name in places), None) if places else None
    position = _NOWHERE if place is None else PositionUm(*place, 0.0)
    settings = {"ingested": "yes", "time_from": picture.time_from, "captured": read.captured}
    capture = read.capture(
        position, pixel_um=pixel_um, time_s=picture.time_s, light=_LIGHT,
        device=(read.camera or "phone, not named")[:120], settings=settings,
    )
    writer.add_phone_capture(slide, index, INGESTED_ROW, index, capture)
    tally.added += 1
    tally.unplaced += place is None
    tally.untimed += picture.time_from != "camera"
    return 1


def _read(picture: FoundPicture, shape: tuple[int, int] | None, tally: _Tally) -> PhonePicture | None:
    """Return a picture of this frame, or of any; None where it can't be used, which is noted."""
    try:
        read = picture.read()
    except (InputFileError, InputImageError) as error:
        tally.skipped.append(Skipped(picture.shown, error.cause))
        return None
    if shape is None or read.shape == shape:
        return read
    turned = ": it was turned" if read.shape == shape[::-1] else ""
    tally.skipped.append(Skipped(
        picture.shown,
        f"it has {read.shape[1]}x{read.shape[0]} px, and the session's have {shape[1]}x{shape[0]}{turned}",
    ))
    return None


def _existing(session: Path) -> tuple[SessionHeader | None, set[str]]:
    """Return the header of a session that is there, and the digests of the files that it was made of."""
    if not session.exists():
        return None, set()
    with Session.open(session) as begun:
        return begun.header, known_files(begun)


def _header(
    session: Path, begun: SessionHeader | None, rest: list[FoundPicture], config: InstrumentConfig,
    options: IngestOptions, slide: str, source: str, tally: _Tally,
) -> tuple[SessionHeader, list[FoundPicture]]:
    """Return the header to write with, and what is left to put in; InputFileError where a new session would stay empty.

    The first picture that reads decides on the frame of a new session, where the instrument file does not. Pictures
    that were taken elsewhere are not the twin's: without a name in the instrument file, their instrument has none.
    """
    if "name" not in config.model_fields_set:
        config = config.model_copy(update={"name": UNNAMED})
    tiles = options.benchtop
    if begun is not None:
        if tiles is not None and tiles.shape != begun.benchtop_shape:
            raise UserError(
                f"the tiles have {tiles.shape[1]}x{tiles.shape[0]} px, and {session} was begun for "
                f"{begun.benchtop_shape[1]}x{begun.benchtop_shape[0]}", "put them into another session"
            )
        return begun, rest
    shape, first = config.phone.frame_shape, None
    while rest and (first := _read(rest[0], shape, tally)) is None:
        rest = rest[1:]
    shape = shape if first is None else first.shape
    if shape is None or (first is None and tiles is None):
        reasons = "; ".join(f"{each.file}: {each.reason}" for each in tally.skipped[:3])
        raise InputFileError(f"no picture can be used ({reasons})", "give files as the phone saved them")
    if tiles is not None:
        benchtop = tiles.shape
    else:
        benchtop = paper_benchtop(config.benchtop, source=source, session=None).frame_shape
    if options.plan is not None:
        return session_header(options.plan, describe(config), benchtop, shape), rest
    try:
        entry = SlideEntry(name=slide, role=options.role or "training", stain=options.stain or "")
    except ValidationError as error:
        remedy = "letters, digits, . _ and - make a name, 64 at most, and it begins with a letter or digit"
        raise UserError(f"{slide!r} is no name for a slide", remedy) from error
    return SessionHeader(
        slides=(entry,), instrument={"instrument": describe(config)}, benchtop_shape=benchtop, phone_shape=shape
    ), rest


def _pictures(session: Path, begun: SessionHeader | None, rest: list[FoundPicture]) -> LightPictures | None:
    """Return what the session's captures are developed from; None where it has none yet, and gets none."""
    kinds = {"jpeg" if each.dng is None and each.developed is None else "raw" for each in rest}
    if begun is not None:
        with Session.open(session) as opened:
            records = [record for slide in opened.slides for record in opened.captures(slide.name)]
        kinds |= {"raw" if record.cfa else "jpeg" for record in records}
    # As `recipe_of` does: the first raw capture decides.
    return "raw" if "raw" in kinds else "jpeg" if kinds else None


def _slide(session: Path, begun: SessionHeader | None, options: IngestOptions) -> str:
    """Return the slide that the pictures are of, as the session or the plan has it."""
    if begun is not None:
        entries = begun.slides
    elif options.plan is not None:
        entries = tuple(SlideEntry(name=each.name, role=each.role, stain=each.stain) for each in options.plan.slides)
    elif options.slide is None:
        raise UserError(f"{session} is new, and the slide of its pictures has no name", "give --slide NAME")
    else:
        return options.slide
    names = ", ".join(entry.name for entry in entries)
    if options.slide is None and len(entries) > 1:
        raise UserError(f"{session} has the slides {names}", "say with --slide which one the pictures are of")
    entry = next((each for each in entries if each.name == (options.slide or entries[0].name)), None)
    if entry is None:
        raise UserError(f"{session} has no slide {options.slide!r}", f"its slides are {names}")
    for name, given, there in (("role", options.role, entry.role), ("stain", options.stain, entry.stain)):
        if given is not None and given != there:
            raise UserError(
                f"slide {entry.name} has the {name} {there or 'unknown'}, not {given}", f"leave --{name} out"
            )
    return entry.name


def _stated_pixel_um(session: Path, begun: SessionHeader | None, slide: str) -> float | None:
    """Return the pixel size of a slide's captures that are there already."""
    if begun is None:
        return None
    with Session.open(session) as opened:
        captures = opened.captures(slide)
    return captures[0].pixel_size_um if captures else None


def _next_index(session: Path, slide: str) -> int:
    with Session.open(session) as opened:
        return 1 + max((capture.index for capture in opened.captures(slide)), default=-1)


def _places(folder: Path, table: Path | None) -> dict[str, tuple[float, float]] | None:
    """Return the positions of a table by file name; InputFileError where it names a file that is not there."""
    if table is None:
        return None
    places = {name: (x_um, y_um) for name, x_um, y_um in read_positions(table)}
    missing = [name for name in places if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise InputFileError(
            f"{table} names {len(missing)} files that are not in {folder}: {', '.join(missing[:5])}",
            "write the names as they are in the folder",
        )
    return places


