"""Enhancement of files: a picture or slide of any size, a folder of them, or every capture of a session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.enhancement.calibrating import calibration_from, calibration_of
from mobilescope.app.enhancement.trusting import assess_picture
from mobilescope.app.mosaics.pyramids import write_pyramid
from mobilescope.app.pairs.distortion import load_distortion, straightened
from mobilescope.app.pictures.enhance_jobs import Job, file_digest, open_jobs
from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.pictures.images import Picture, is_pyramid, write_rgb
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import (
    CancelledError,
    DiskSpaceError,
    InputFileError,
    InputImageError,
    MobilescopeError,
    OutputError,
    UserError,
)
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.enhance.engines import EngineName
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.provenance import ModelIdentity, Provenance, record_provenance
from mobilescope.enhance.refeeding import REFEEDS, enhance_twice
from mobilescope.enhance.trust import TrustAssessor
from mobilescope.imaging.bands import bands
from mobilescope.imaging.pixel_sources import Pixels, PixelSource
from mobilescope.learn.device import Precision

# Beyond this, the network is asked for structures far from those that it was trained on.
MOST_PIXEL_SIZE_RATIO = 2.0
# Pictures of fewer tiles are done before their progress could be read.
_TILES_OF_A_SLIDE = 50


@dataclass(frozen=True)
class EnhanceOptions:
    """How to enhance.

    Attributes
    ----------
    device, precision, engine : str
        See `mobilescope.enhance.enhancer.Enhancer`.
    pixel_size_um : float, optional
        Pixel pitch of the pictures, instead of what their files state.
    calibration : Path, optional
        Pictures that int8 measures on; without it, those to be enhanced.
    tile_px : int, optional
        Side of a tile; smaller ones take less memory.
    force : bool
        Enhance pictures whose pixel pitch is far from the model's.
    again : bool
        Enhance what was enhanced by the same model from the same input.
    refeed : str
        "downsampled" or "finer": enhance each result again, see `mobilescope.enhance.refeeding`.
    distortion : Path, optional
        The phone's distortion map: pictures are straightened by it first.
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    pixel_size_um: float | None = None
    calibration: Path | None = None
    tile_px: int | None = None
    force: bool = False
    again: bool = False
    refeed: str = "none"
    distortion: Path | None = None


@dataclass(frozen=True)
class Enhanced:
    """One result: what it was made from, where it stands, and how far to trust it."""

    source: str
    target: Path
    state: str
    reasons: tuple[str, ...]
    seconds: float
    engine: str
    skipped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "input": self.source, "output": str(self.target), "state": self.state, "reasons": list(self.reasons),
            "seconds": round(self.seconds, 3), "engine": self.engine, "skipped": self.skipped,
        }


@dataclass(frozen=True)
class Failed:
    """A picture that could not be enhanced, and why."""

    source: str
    error: MobilescopeError


@dataclass(frozen=True)
class EnhanceResult:
    """What became of every picture, in their order."""

    engine: str
    done: tuple[Enhanced, ...]
    failed: tuple[Failed, ...]


def enhance_path(
    model: Path,
    source: Path,
    target: Path,
    options: EnhanceOptions | None = None,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> EnhanceResult:
    """Enhance what ``source`` holds.

    A picture goes to ``target``, or into it where that is a folder; a folder's pictures and a session's captures go
    into the folder ``target`` under their own names. Names that end in .ome.tif make pyramids, written in parts.
    Of several pictures, those that fail are listed and the others done; the failure of a single one is raised. Earlier
    results are replaced, other pictures never.
    """
    options, stop = options or EnhanceOptions(), stop or StopToken()
    _check(options)
    with open_jobs(source, target) as jobs:
        work = _Work(model, jobs, options, on_progress)
        for folder in {job.targets[0].parent for job in jobs}:
            prepare_folder(folder)
        done: list[Enhanced] = []
        failed: list[Failed] = []
        several = len(jobs) > 1
        for count, job in enumerate(jobs, start=1):
            stop.raise_if_requested("enhancing")
            try:
                done.append(work.enhance(job, _progress_of(job, on_progress) if several else on_progress, stop))
            except (CancelledError, DiskSpaceError):
                raise
            except MobilescopeError as error:
                if not several:
                    raise
                failed.append(Failed(job.name, error))
            if several:
                on_progress(Progress("enhance", count, len(jobs), job.targets[0].name))
        return EnhanceResult(work.engine, tuple(done), tuple(failed))


def _progress_of(job: Job, listener: ProgressListener) -> ProgressListener:
    """Return a listener for one picture among several: the tiles of a slide have a stage of their own."""
    def listen(progress: Progress) -> None:
        if progress.total >= _TILES_OF_A_SLIDE:
            listener(Progress(job.targets[-1].name, progress.done, progress.total, progress.note))

    return listen


def _check(options: EnhanceOptions) -> None:
    """Refuse options that no model takes, before one is loaded."""
    if options.precision not in get_args(Precision):
        raise UserError(
            f"there is no precision {options.precision!r}", f"choose one of {', '.join(get_args(Precision))}"
        )
    if options.engine not in get_args(EngineName):
        raise UserError(f"there is no engine {options.engine!r}", f"choose one of {', '.join(get_args(EngineName))}")
    if options.refeed not in REFEEDS:
        raise UserError(f"there is no way {options.refeed!r} to feed again", f"choose one of {', '.join(REFEEDS)}")
    if options.calibration is not None and options.precision != "int8":
        raise UserError("calibration pictures are for int8 alone", "leave them out, or choose the precision int8")


class _Work:
    """A model that is ready, and how to use it."""

    def __init__(
        self, model: Path, jobs: list[Job], options: EnhanceOptions, on_progress: ProgressListener
    ) -> None:
        self._options = options
        self._distortion = None if options.distortion is None else load_distortion(options.distortion)
        self._distortion_digest = None if options.distortion is None else file_digest(options.distortion)
        self._identity = ModelIdentity.of_file(model)
        if options.precision == "int8":
            on_progress(Progress("calibrate int8", 0, 1))  # which takes up to a minute
        self._enhancer = Enhancer.from_checkpoint(
            model, options.device, cast("Precision", options.precision), engine=cast("EngineName", options.engine),
            calibration=_calibration(jobs, options), tile_px=options.tile_px,
        )
        if options.precision == "int8":
            on_progress(Progress("calibrate int8", 1, 1))
        self._assessor = TrustAssessor.from_checkpoint(model, options.device)

    @property
    def engine(self) -> str:
        return self._enhancer.engine

    def enhance(self, job: Job, on_progress: ProgressListener, stop: StopToken) -> Enhanced:
        """Enhance one picture, unless that was done before; what is wrong with it is an error that names it."""
        begun = time.perf_counter()
        try:
            digest = job.digest()
            earlier = None if self._options.again else self._earlier(job, digest)
            if earlier is not None:
                return earlier
            picture = job.open()
            if self._distortion is not None:
                picture = straightened(picture, self._distortion)
            target = job.target(self._output_shape(picture.shape))
            _check_replaceable(target)
            if is_pyramid(target) and self._options.refeed != "none":
                raise UserError(
                    f"{target.name} is written in parts, and a picture is fed again as a whole",
                    "write a PNG or a plain TIFF, or leave --refeed out",
                )
            pixels = self._pixel_sizes(picture)
            trust = assess_picture(self._assessor, picture, pixels.input_um)
            record = record_provenance(self._identity, digest, self._settings(job, pixels), trust)
            prepare_folder(target.parent)
            self._write(target, picture, pixels, record, on_progress, stop)
        except InputImageError as error:
            if job.name in error.cause:
                raise
            raise InputImageError(f"{job.name}: {error.cause}", error.remedy) from error
        return Enhanced(job.name, target, trust.state, trust.reasons, time.perf_counter() - begun, self.engine)

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        once = self._enhancer.output_shape(shape)
        return self._enhancer.output_shape(once) if self._options.refeed == "finer" else once

    def _earlier(self, job: Job, digest: str) -> Enhanced | None:
        """Return an earlier result that the same model made of the same input in the same way."""
        asked_um = self._options.pixel_size_um
        for target in job.targets:
            record = _record_at(target)
            settings = record.get("settings", {})
            same_pixels = settings.get("pixel_size_um") == asked_um if asked_um else (
                settings.get("pixel_size_from") != "option"
            )
            if (
                (record.get("model_sha256"), record.get("input_sha256")) == (self._identity.file_sha256, digest)
                and settings.get("engine") == self.engine and same_pixels and record.get("trust")
                and settings.get("refeed", "none") == self._options.refeed
                and settings.get("distortion_sha256") == self._distortion_digest
            ):
                trust = record["trust"]
                return Enhanced(job.name, target, trust["state"], tuple(trust["reasons"]), 0.0, self.engine, True)
        return None

    def _pixel_sizes(self, picture: Picture) -> _PixelSizes:
        """Return the pixel pitch that a picture is taken to have; InputImageError where it is far from the model's."""
        expected, given = self._enhancer.card.input_pixel_um, self._options.pixel_size_um
        input_um = given or picture.pixel_size_um
        origin = "option" if given else "input" if input_um else "model"
        if input_um is not None and not self._options.force:
            ratio = max(input_um / expected, expected / input_um)
            if ratio > MOST_PIXEL_SIZE_RATIO:
                raise InputImageError(
                    f"the picture's pixels are {input_um:.3g} µm, and the model was trained on pixels of "
                    f"{expected:.3g} µm",
                    "resample the picture, use a model for its pixel size, or force it",
                )
        passes = 2 if self._options.refeed == "finer" else 1
        return _PixelSizes(input_um, (input_um or expected) / self._enhancer.card.network.factor**passes, origin)

    def _settings(self, job: Job, pixels: _PixelSizes) -> dict[str, str | int | float | bool | None]:
        return {
            "input": Path(job.name).name,
            "input_sha256_of": job.digest_of,
            "engine": self.engine,
            "tile_px": self._options.tile_px,
            "pixel_size_um": pixels.input_um,
            "pixel_size_from": pixels.origin,
            "output_pixel_size_um": pixels.output_um,
            "forced": self._options.force,
            "refeed": self._options.refeed,
            "distortion_sha256": self._distortion_digest,
        }

    def _write(
        self, target: Path, picture: Picture, pixels: _PixelSizes, record: Provenance,
        on_progress: ProgressListener, stop: StopToken,
    ) -> None:
        note, enhancer = json.dumps(record.to_json()), self._enhancer
        if not is_pyramid(target):
            refeed = self._options.refeed
            if refeed == "none":
                enhanced = enhancer(picture.read(), on_progress=on_progress, stop=stop)
            else:
                grid = cast("Literal['downsampled', 'finer']", refeed)
                enhanced = enhance_twice(enhancer, picture.read(), grid, on_progress=on_progress, stop=stop)
            write_rgb(target, enhanced, note=note, pixel_size_um=pixels.output_um)
            return
        shape = enhancer.output_shape(picture.shape)
        pieces = enhancer.stream(ByBand(picture.source), picture.shape, on_progress=on_progress, stop=stop)
        write_pyramid(
            target, bands(pieces, shape[1]), shape, picture.source.dtype, pixel_size_um=pixels.output_um, note=note,
            summary=record.label,
        )


@dataclass(frozen=True)
class _PixelSizes:
    """Pixel pitch of a picture, where it is known, and of what is made of it, with where that comes from."""

    input_um: float | None
    output_um: float
    origin: str


class ByBand:
    """Reads tiles from bands as wide as the picture, so that a strip of its file is decoded once for all of them."""

    def __init__(self, source: PixelSource) -> None:
        self._source = source
        self._rows = slice(0, 0)
        self._band: NDArray[np.generic] | None = None

    def __call__(self, rows: slice, columns: slice) -> NDArray[np.generic]:
        """Return the pixels of two slices."""
        if self._band is None or rows != self._rows:
            self._band, self._rows = None, rows  # the last one is let go before the next is made
            self._band = self._source.read(rows.start, 0, rows.stop - rows.start, self._source.shape[1])
        return self._band[:, columns]


def _record_at(path: Path) -> dict[str, Any]:
    """Return the record in an earlier result; empty where there is none, or something else stands there."""
    if not path.is_file():
        return {}
    try:
        return read_record(path) or {}
    except InputFileError:
        return {}


def _check_replaceable(target: Path) -> None:
    """Refuse to replace a whole picture that is no earlier result: it may be the only one of its kind."""
    if not target.is_file():
        return
    try:
        earlier = read_record(target)
    except InputFileError:
        return  # half a file is of no use to anyone
    if earlier is None:
        raise OutputError(f"{target} is there and was not made by enhance", "give another output, or move it away")


def _calibration(jobs: list[Job], options: EnhanceOptions) -> list[Pixels]:
    if options.precision != "int8":
        return []
    return calibration_of(_readable(jobs)) if options.calibration is None else calibration_from(options.calibration)


def _readable(jobs: list[Job]) -> Iterator[Picture]:
    for job in jobs:
        try:
            yield job.open()
        except UserError:
            if len(jobs) == 1:
                raise
            # One of several is listed as failed when its turn comes.
