"""A paired session over the twin without a command: instruments of small frames, a session, and one slide's walk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from mobilescope.acquire.pair_examining import FieldExaminer
from mobilescope.acquire.pairing import Choice, PairedWalk, PairOptions, PlannedField
from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.app.paired_sessions.pair_benchtop import SessionSide, tile_taker
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.errors import DeviceError, LimitError
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.devices.phones.moving import StageMover
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.imaging.frame_link import FrameLink
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.tile_areas import TileArea

SLIDE, FRAME_PX, BAYER_PX, PIXEL_UM = "s", 256, 256, 0.37
GRID = FieldGrid(4, 4, FRAME_PX * PIXEL_UM, FRAME_PX * PIXEL_UM, overlap=0.1)
# Both fields, and where they are looked for, lie within the grid of tiles.
FIELDS = (PlannedField(0, 0, -40.0, -20.0), PlannedField(0, 1, 40.0, 30.0))


def header() -> SessionHeader:
    return SessionHeader(
        slides=(SlideEntry(name=SLIDE, role="training"),), instrument={"instrument": {"name": "twin"}},
        benchtop_shape=(FRAME_PX, FRAME_PX), phone_shape=(BAYER_PX, BAYER_PX),
    )


def small_twin(make_twin, **changes):
    """Return a twin of small frames with a blood smear and an empty slide."""
    phone = {"bayer_rows": BAYER_PX, "bayer_columns": BAYER_PX, "position_error_um": 3.0} | changes.pop("phone", {})
    return make_twin({SLIDE: "blood", "empty": "blank"}, frame_px=FRAME_PX, phone=phone, **changes)


@dataclass
class Chooser:
    """A person who is asked what to do about refused fields, and remembers what was said."""

    answers: list[Choice] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def tell(self, text):
        self.told.append(text)

    def choose(self, what, reason, advice):
        self.asked.append(reason)
        return self.answers.pop(0) if self.answers else Choice.KEEP


class FaultyPhone:
    """The twin's phone with something wrong at some of its captures, counted from 0."""

    def __init__(self, phone, fault, captures=(0,), defocus_um=14.0):
        self._phone, self._fault, self._captures, self._defocus_um = phone, fault, captures, defocus_um
        self.taken, self._last = 0, None

    def __getattr__(self, name):
        return getattr(self._phone, name)

    def capture(self, x_um, y_um):
        number, self.taken = self.taken, self.taken + 1
        if number not in self._captures:
            self._last = self._phone.capture(x_um, y_um)
            return self._last
        return getattr(self, f"_{self._fault}")(x_um, y_um)

    def _fails(self, _x_um, _y_um):
        raise DeviceError("the phone does not answer", "check its cable")

    def _beyond(self, x_um, _y_um):
        raise LimitError(f"x = {x_um:.2f} µm lies outside the stage's range", "choose a position inside it")

    def _same(self, _x_um, _y_um):
        return self._last

    def _blurred(self, x_um, y_um):
        self._phone.defocus_um = self._defocus_um
        try:
            return self._phone.capture(x_um, y_um)
        finally:
            self._phone.defocus_um = 0.0

    def _elsewhere(self, x_um, y_um):
        return self._phone.capture(x_um + 90, y_um - 10)

    def _blank(self, x_um, y_um):
        self._phone.mount("empty")
        try:
            return self._phone.capture(x_um, y_um)
        finally:
            self._phone.mount(SLIDE)

    def _flipped(self, x_um, y_um):
        capture = self._phone.capture(x_um, y_um)
        return replace(capture, bayer=capture.bayer[:, ::-1].copy(), cfa="GRBG")

    def _without_raw(self, x_um, y_um):
        capture = self._phone.capture(x_um, y_um)
        return replace(capture, bayer=None, cfa="", black_level=0, white_level=255)

    def _dark(self, x_um, y_um):
        self._phone.illuminator.off()
        return self._phone.capture(x_um, y_um)


class TwinPictures:
    """The twin's pictures as a `PictureSource`: of where a stage of the phone scope stands."""

    name, waits_for_person = "twin", False

    def __init__(self, phone, stage):
        self._phone, self._stage = phone, stage

    def shape(self):
        return self._phone.frame_shape

    def prepare(self):
        """Be ready at once."""

    def take(self, _stop, _known):
        at = self._stage.position()
        taken = self._phone.capture(at.x_um, at.y_um)
        kept = ("bayer", "jpeg", "cfa", "black_level", "white_level", "white_balance", "iso", "exposure_ms")
        return PhonePicture(
            **{name: getattr(taken, name) for name in kept}, shape=taken.bayer.shape, camera="twin", captured="",
            captured_s=None,
        )

    def close(self):
        """Hold nothing."""


def staged_phone(twin, stage) -> RealPhone:
    """Return a real phone scope with a stage of its own, which takes the twin's pictures."""
    return RealPhone(
        TwinPictures(twin.phone, stage), illuminator=twin.phone.illuminator, mover=StageMover(lambda: stage, None),
        pixel_um=twin.phone.field_of_view_um[0] / BAYER_PX, frame_shape=twin.phone.frame_shape,
        ask_mount=twin.phone.mount,
    )


def scanned(twin, folder: Path, grid: FieldGrid = GRID) -> Path:
    """Scan a slide into a session and return it, closed."""
    path = folder / "scanned.h5"
    with SessionWriter.create_or_resume(path, header(), margin_bytes=0) as writer:
        ScanRunner(twin.benchtop, writer, [SlideRun(SLIDE, TileArea(grid))]).run()
    return path


@dataclass
class Walked:
    """How a walk ended: its result, what the person was told, and what the session holds then."""

    result: object
    chooser: Chooser
    session: Path

    @property
    def links(self):
        with Session.open(self.session) as opened:
            assert opened.verify() == []
            return opened.pair_links(SLIDE)

    @property
    def captures(self):
        with Session.open(self.session) as opened:
            return opened.captures(SLIDE)


def walk(
    twin, session: Path, *, phone=None, fields=FIELDS, answers=(), retakes=1, live=False, link=None, pending=(),
    finder=None, side=None, details=(), lights=(), **options,
) -> Walked:
    """Walk through some fields and return how it ended; an error of the walk is passed on."""
    chooser = Chooser(list(answers))
    phone = phone or twin.phone
    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        take = tile_taker(
            lambda run: ScanRunner(twin.benchtop, writer, [run]), SlideRun(SLIDE, TileArea(GRID)), lambda: None
        )
        benchtop = SessionSide(session, SLIDE, GRID, take=take if live else None)
        examiner = FieldExaminer(side(benchtop) if side else benchtop, finder=finder, details=details)
        paired = PairedWalk(
            SLIDE, phone, writer, examiner, link or FrameLink.nominal(), chooser, develop_fresh,
            options=PairOptions(retakes=retakes, lights=tuple(lights)), **options,
        )
        if fields:
            phone.mount(SLIDE)
        paired.pair_stored(pending)
        paired.pair_fields(fields)
    return Walked(paired.result, chooser, session)


def copy_of(session: Path, folder: Path) -> Path:
    return Path(shutil.copy(session, folder / "s.h5"))


def true_centre(twin, number=-1):
    """Return where a capture really looked, (x, y) of the middle of its picture."""
    positions = twin.truth.captures[number].positions_um
    rows, columns = (side // 2 for side in positions.shape[:2])
    return positions[rows - 1 : rows + 1, columns - 1 : columns + 1].mean(axis=(0, 1))
