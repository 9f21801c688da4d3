"""A live run put together: source, network, quality ladder, pipeline and recorder; and its summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.enhancement.calibrating import calibration_from
from mobilescope.app.enhancement.live_recording import LiveRecorder, Recording
from mobilescope.app.instruments.live_sources import SourceOptions, opened_source
from mobilescope.app.pairs.distortion import StraightenedFrames, load_distortion
from mobilescope.app.pictures.enhance_jobs import file_digest
from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.core.errors import InputFileError, ModelKindError, UserError
from mobilescope.core.protocols import Frame, FrameSource
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.ladder import Ladder
from mobilescope.enhance.live import LivePipeline
from mobilescope.enhance.live_values import LivePicture, Picture, Region
from mobilescope.enhance.provenance import ModelIdentity, Provenance, Setting, digest_picture, record_provenance
from mobilescope.enhance.rung_controller import Rung, RungChange
from mobilescope.enhance.trust import TrustAssessor, TrustReport
from mobilescope.learn.device import Precision

DEMO_MODEL = Path("demo") / "model.pt"
AUTO = "auto"
RECORDING_STOPPED = "RECORDING HAS STOPPED: "
_SAVED = Path("live")


@dataclass(frozen=True)
class LiveOptions:
    """What `mobilescope live` can be asked for.

    Attributes
    ----------
    frames_per_s : float
        The rate that the ladder holds.
    rung : str
        ``auto``, or the rung to stay on.
    record : Path or None
        Folder that takes a pair of pictures every two seconds.
    calibration : Path or None
        Pictures on which int8 measures the network's ranges; see `calibrating.calibration_from`.
    distortion : Path or None
        The phone's distortion map: frames are straightened by it first.
    """

    model: Path
    source: SourceOptions
    frames_per_s: float = 15.0
    region: str | None = None
    rung: str = AUTO
    fast_model: Path | None = None
    frames: int | None = None
    record: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    calibration: Path | None = None
    distortion: Path | None = None


@dataclass(frozen=True, eq=False)
class LiveRun:
    """A run under way."""

    source: FrameSource
    pipeline: LivePipeline
    ladder: Ladder
    recorder: LiveRecorder
    engine: str
    recording: Recording | None = None
    changes: list[RungChange] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What is looked at."""
        return self.source.name

    @property
    def trouble(self) -> str:
        """What went wrong beside the picture, in a sentence; empty where nothing did."""
        return f"{RECORDING_STOPPED}{self.recording.stopped}" if self.recording and self.recording.stopped else ""

    def save(self, picture: LivePicture) -> Path:
        """Write a pair of pictures; return the enhanced one's file."""
        return self.recorder(picture)

    def summary(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        snapshot, status = self.pipeline.snapshot(), self.ladder.status()
        verdict = snapshot.verdict
        return {
            "source": self.source.name,
            "state": snapshot.state.value,
            "frames": snapshot.frames_shown,
            "dropped": snapshot.dropped,
            "seconds": round(snapshot.seconds, 3),
            "fps": round(snapshot.frames_shown / snapshot.seconds, 3) if snapshot.seconds > 0 else math.nan,
            "delay_ms": {
                stage: {"median": round(delay.median_ms, 2), "p95": round(delay.p95_ms, 2)}
                for stage, delay in snapshot.delays.items()
            },
            "rung": status.rung.value,
            "reason": status.reason,
            "rungs": {rung.value: {"median_ms": round(took_ms, 2)} for rung, took_ms in status.took_ms.items()},
            "changes": [
                {"before": change.before.value, "after": change.after.value, "reason": change.reason}
                for change in self.changes
            ],
            "trust": None if verdict is None else {"state": verdict.state, "reasons": list(verdict.reasons)},
            "engine": self.engine,
            "recorded": self.recorder.count,
            "recording_stopped": (self.recording.stopped or None) if self.recording else None,
        }


def find_model(given: Path | None) -> Path:
    """Return the model asked for, or the demo's in this folder."""
    if given is not None:
        return given
    if not DEMO_MODEL.is_file():
        raise InputFileError(
            f"no model was given and there is no {DEMO_MODEL}",
            "name one, or make one with 'mobilescope demo' (some minutes)",
        )
    return DEMO_MODEL


def instrument_beside(model: Path) -> Path | None:
    """Return the instrument file of the demo that made a model, None where there is none beside it."""
    path = model.with_name("instrument.toml")
    return path if path.is_file() else None


@contextmanager
def live_run(
    options: LiveOptions,
    *,
    show: Callable[[LivePicture], None],
    preview: Callable[[Frame], None] | None = None,
    on_change: Callable[[RungChange], None] = lambda _change: None,
    on_trouble: Callable[[str], None] = lambda _trouble: None,
    opened: FrameSource | None = None,
) -> Iterator[LiveRun]:
    """Open everything, start, and yield the run; at the end its threads have ended and the light is out.

    Parameters
    ----------
    on_trouble : callable, optional
        Told once that recording has stopped, why and what to do; the run goes on.
    opened : FrameSource, optional
        A stream that is open already, in place of the one that the options name; it is closed at the end.

    Raises
    ------
    MobilescopeError
        What the user asked for can't be had, or something failed in one of the threads.
    """
    region = None if options.region is None else Region.parse(options.region)
    rung = _rung(options.rung)
    if options.record is not None:
        prepare_folder(options.record)
    network = _enhancer(options.model, options)
    ladder_changes: list[RungChange] = []

    def changed(change: RungChange) -> None:
        ladder_changes.append(change)
        on_change(change)

    def part(picture: Picture, region: Region) -> NDArray[np.generic]:
        columns = slice(region.column, region.column + region.columns)
        return network.part(picture, slice(region.row, region.row + region.rows), columns)

    small = _small_network(network, options)
    ladder = Ladder(
        network, part=part, factor=network.card.network.factor, frames_per_s=options.frames_per_s, distilled=small,
        region=region, rung=rung, on_change=changed,
    )
    # On the CPU: a GPU is left to the frames, and its launches can't be recorded while another thread uses it.
    assessor = TrustAssessor.from_checkpoint(options.model, device="cpu")

    def judge(frame: Frame) -> TrustReport:
        return assessor.assess(frame.pixels, pixel_size_um=frame.pixel_size_um)

    describe = _Describer(options, network, small, judge)
    recorder = LiveRecorder(options.record or _SAVED, describe)
    recording = None if options.record is None else Recording(
        recorder, lambda why: on_trouble(f"{RECORDING_STOPPED}{why}")
    )
    distortion = None if options.distortion is None else load_distortion(options.distortion)
    with opened_source(options.source) if opened is None else nullcontext(opened) as frames:
        source = frames if distortion is None else StraightenedFrames(frames, distortion)
        pipeline = LivePipeline(
            source, ladder, show, preview=preview, judge=judge, frames=options.frames, keep=recording,
        )
        with pipeline:
            yield LiveRun(source, pipeline, ladder, recorder, network.engine, recording, changes=ladder_changes)


class _Describer:
    """Says how a picture was made, with the trust of its own frame."""

    def __init__(
        self, options: LiveOptions, full: Enhancer, small: Enhancer | None, judge: Callable[[Frame], TrustReport]
    ) -> None:
        self._judge = judge
        self._full = ModelIdentity.of_file(options.model), full.engine
        self._distortion_digest = None if options.distortion is None else file_digest(options.distortion)
        fast = options.fast_model
        self._small = self._full if fast is None or small is None else (ModelIdentity.of_file(fast), small.engine)

    def __call__(self, picture: LivePicture) -> Provenance:
        frame, enhanced = picture.frame, picture.enhanced
        identity, engine = self._small if enhanced.method == Rung.DISTILLED else self._full
        settings: dict[str, Setting] = {
            "input_sha256_of": "pixels of the region",
            "frame": frame.index,
            "rung": enhanced.method,
            "region": str(enhanced.region),
            "engine": "colour matrix" if enhanced.method == Rung.COLOUR else engine,
            "pixel_size_um": frame.pixel_size_um,
            "distortion_sha256": self._distortion_digest,
        }
        return record_provenance(
            identity, digest_picture(enhanced.region.of(frame.pixels)), settings, self._judge(frame)
        )


def _rung(text: str) -> Rung | None:
    if text == AUTO:
        return None
    if text not in list(Rung):
        raise UserError(f"there is no rung {text!r}", f"choose {AUTO}, {', '.join(Rung)}")
    return Rung(text)


def _enhancer(model: Path, options: LiveOptions) -> Enhancer:
    if options.precision not in get_args(Precision):
        names = ", ".join(get_args(Precision))
        raise UserError(f"there is no precision {options.precision!r}", f"choose one of {names}")
    if options.precision == "int8" and options.calibration is None:
        raise UserError(
            "int8 needs pictures to measure on before the first frame comes", "name some with --calibration"
        )
    if options.precision != "int8" and options.calibration is not None:
        raise UserError("calibration pictures are for int8 alone", "leave them out, or choose the precision int8")
    return Enhancer.from_checkpoint(
        model, device=options.device, precision=cast("Precision", options.precision),
        calibration=() if options.calibration is None else calibration_from(options.calibration),
    )


def _small_network(full: Enhancer, options: LiveOptions) -> Enhancer | None:
    if options.fast_model is None:
        return None
    small = _enhancer(options.fast_model, options)
    factors = small.card.network.factor, full.card.network.factor
    if factors[0] != factors[1]:
        raise ModelKindError(
            f"{options.fast_model} enlarges {factors[0]:g} times, the model {factors[1]:g} times",
            "give a small network that was trained from that model",
        )
    return small
