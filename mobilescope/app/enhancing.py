"""Enhancement of files: a picture or slide of any size, a folder of them, or every capture of a session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.calibrating import calibration_from, calibration_of
from mobilescope.app.enhance_jobs import Job, open_jobs
from mobilescope.app.folders import prepare_folder
from mobilescope.app.images import Picture, as_integers, is_pyramid, write_rgb
from mobilescope.app.pyramids import write_pyramid
from mobilescope.core.errors import CancelledError, InputImageError, MobilescopeError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.enhance.engines import EngineName
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.tiling import bands
from mobilescope.imaging.pixel_sources import Pixels, PixelSource
from mobilescope.learn.device import Precision

# Beyond this, the network is asked for structures far from those that it was trained on.
MOST_PIXEL_SIZE_RATIO = 2.0


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
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    pixel_size_um: float | None = None
    calibration: Path | None = None
    tile_px: int | None = None
    force: bool = False
    again: bool = False


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
    Of several pictures, those that fail are listed and the others done; the failure of a single one is raised.
    """
    options, stop = options or EnhanceOptions(), stop or StopToken()
    _check(options)
    with open_jobs(source, target) as jobs:
        work = _Work.prepare(model, jobs, options)
        done: list[Enhanced] = []
        failed: list[Failed] = []
        for count, job in enumerate(jobs, start=1):
            stop.raise_if_requested("enhancing")
            try:
                done.append(work.enhance(job, on_progress if len(jobs) == 1 else ignore_progress, stop))
            except CancelledError:
                raise
            except MobilescopeError as error:
                if len(jobs) == 1:
                    raise
                failed.append(Failed(job.name, error))
            if len(jobs) > 1:
                on_progress(Progress("enhance", count, len(jobs), job.targets[0].name))
        return EnhanceResult(work.engine, tuple(done), tuple(failed))


def _check(options: EnhanceOptions) -> None:
    """Refuse options that no model takes, before one is loaded."""
    if options.precision not in get_args(Precision):
        raise UserError(
            f"there is no precision {options.precision!r}", f"choose one of {', '.join(get_args(Precision))}"
        )
    if options.engine not in get_args(EngineName):
        raise UserError(f"there is no engine {options.engine!r}", f"choose one of {', '.join(get_args(EngineName))}")
    if options.calibration is not None and options.precision != "int8":
        raise UserError("calibration pictures are for int8 alone", "leave them out, or choose the precision int8")


@dataclass(frozen=True)
class _Work:
    """A model that is ready, and how to use it."""

    enhancer: Enhancer
    assessor: TrustAssessor
    model_digest: str
    options: EnhanceOptions

    @classmethod
    def prepare(cls, model: Path, jobs: list[Job], options: EnhanceOptions) -> _Work:
        enhancer = Enhancer.from_checkpoint(
            model, options.device, cast("Precision", options.precision), engine=cast("EngineName", options.engine),
            calibration=_calibration(jobs, options), tile_px=options.tile_px,
        )
        return cls(enhancer, TrustAssessor.from_checkpoint(model), options)

    @property
    def engine(self) -> str:
        return self.enhancer.engine

    def enhance(self, job: Job, on_progress: ProgressListener, stop: StopToken) -> Enhanced:
        """Enhance one picture, unless that was done before."""
        begun, digest = time.perf_counter(), job.digest()
        earlier = None if self.options.again else self._earlier(job, digest)
        if earlier is not None:
            return earlier
        picture = job.open()
        shape = self.enhancer.output_shape(picture.shape)
        target = job.target(shape)
        pitch_um = self._pitch_um(job, picture)
        prepare_folder(target.parent)
        ...


def _calibration(jobs: list[Job], options: EnhanceOptions) -> list[Pixels]:
    if options.precision != "int8":
        return []
    return calibration_of(job.open() for job in jobs) if options.calibration is None else calibration_from(
        options.calibration
    )
