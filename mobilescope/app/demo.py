"""The whole job on the twin: scan, capture, stitch, register, train, evaluate, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w

from mobilescope.app.acquisition.acquiring import capture_job, open_writer, scan_job
from mobilescope.app.evaluation.evaluating import evaluate_session
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.mosaics.mosaicking import has_mosaic, stitch_slide
from mobilescope.app.pairs.pairing import PairingResult, register_session
from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.core.config import InstrumentConfig, load_model
from mobilescope.core.errors import PlanError, UserError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.layout import pairs_path
from mobilescope.data.pairs import PairStore
from mobilescope.learn.evaluate import Evaluation
from mobilescope.learn.presets import preset
from mobilescope.learn.train import TrainingResult, train
from mobilescope.plans.job import GridPlan, JobPlan, Role, SlidePlan, load_plan
from mobilescope.plans.scan_plans import GridScan
from mobilescope.twin.parameters import PhoneParameters, load_parameters
from mobilescope.twin.slides import SlideSpec
from mobilescope.twin.specimens.image import ImageSpecimen, cut_into_parts
from mobilescope.twin.truth import TruthLog

NEEDED_BYTES = 2_000_000_000
_SCAN = GridScan(rows=4, columns=4, overlap=0.1)
_MAX_GRID = 5
_BLIND_FIELDS = 8
# The smallest read-out that still registers with confidence: 112 pixels after half-size development.
_LEAST_BAYER_PX = 224
# A gap of a tenth of a field keeps neighbours apart whatever the phone's placing error.
_GAP = -0.1

Result = TypeVar("Result")


@dataclass(frozen=True)
class DemoOptions:
    """What `mobilescope demo` can be asked for."""

    out: Path = Path("demo")
    seed: int = 0
    training_seed: int = 0
    stain: str = "blood"
    images: tuple[Path, ...] = ()
    pixel_size_um: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class DemoResult:
    """Where everything is and how it came out."""

    session: Path
    model: Path
    report: Path
    pairs: PairingResult
    training: TrainingResult
    evaluation: Evaluation
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        blind: dict[str, Any] = {"fields": len(self.evaluation.fields)}
        for key, method, metric in (
            ("ssim_bicubic", "bicubic", "ssim"),
            ("ssim_colour", "colour", "ssim"),
            ("ssim_network", "network", "ssim"),
            ("cie94_raw", "bicubic", "cie94"),
            ("cie94_network", "network", "cie94"),
            ("psnr_bicubic", "bicubic", "psnr_db"),
            ("psnr_network", "network", "psnr_db"),
        ):
            blind[key] = round(self.evaluation.interval(method, metric).mean, 5)
        return {
            "session": str(self.session),
            "model": str(self.model),
            "report": str(self.report),
            "pairs": {"accepted": self.pairs.accepted, "refused": self.pairs.refused},
            "blind": blind,
            "seconds": {stage: round(value, 2) for stage, value in self.seconds.items()},
        }


def run_demo(
    options: DemoOptions,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
    truth: TruthLog | None = None,
) -> DemoResult:
    """Run the whole job into one folder; the same call goes on where an interrupted one ended.

    ``instrument.toml`` and ``plan.toml`` in the folder are what the single commands take to do the same again.
    """
    stop = stop or StopToken()
    prepare_folder(options.out, needed_bytes=NEEDED_BYTES)
    instrument_file, plan_file = options.out / "instrument.toml", options.out / "plan.toml"
    config, plan = describe_job(options)
    _write_or_compare(instrument_file, config.model_dump(mode="json", exclude_none=True))
    _write_or_compare(plan_file, plan.model_dump(mode="json", exclude_none=True))
    config, plan = load_model(InstrumentConfig, instrument_file), load_plan(plan_file)
    session, model, report = (options.out / name for name in ("session.h5", "model.pt", "report.html"))
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        started = time.monotonic()
        result = work()
        seconds[stage] = time.monotonic() - started
        return result

    started = time.monotonic()
    with (
        build_instruments(config, source=str(instrument_file), truth=truth) as instruments,
        open_writer(session, plan, instruments) as writer,
    ):
        timed("scan", lambda: scan_job(writer, plan, instruments, on_progress=on_progress, stop=stop))
        timed("capture", lambda: capture_job(writer, plan, instruments, on_progress=on_progress, stop=stop))
    timed("stitch", lambda: _stitch_all(session, plan, on_progress, stop))
    pairs = timed("register", lambda: _register(session, on_progress, stop))
    settings = preset("quick").model_copy(update={"seed": options.training_seed})
    if options.steps is not None:
        settings = settings.model_copy(update={"steps": options.steps})
    training = timed(
        "train", lambda: train(pairs_path(session), model, settings, on_progress=on_progress, stop=stop)
    )
    stop.raise_if_requested("training (the best model so far is kept)")
    evaluation = timed(
        "evaluate", lambda: evaluate_session(session, model, report, seconds, on_progress=on_progress, stop=stop)
    ).evaluation
    seconds["total"] = time.monotonic() - started
    return DemoResult(session, model, report, pairs, training, evaluation, seconds)


def _stitch_all(session: Path, plan: JobPlan, on_progress: ProgressListener, stop: StopToken) -> None:
    for slide in plan.slides:
        if not has_mosaic(session, slide.name):
            stitch_slide(session, slide.name, on_progress=on_progress, stop=stop)


def _register(session: Path, on_progress: ProgressListener, stop: StopToken) -> PairingResult:
    path = pairs_path(session)
    if not path.exists():
        return register_session(session, on_progress=on_progress, stop=stop)
    with PairStore.open(path) as store:
        accepted = sum(record.accepted for record in store.records)
        return PairingResult(path, accepted, len(store.records) - accepted)


def _write_or_compare(path: Path, content: dict[str, Any]) -> None:
    """Write a description, or check that the one of an earlier run in this folder is the same."""
    text = tomli_w.dumps(content).encode("utf-8")
    if not path.exists():
        path.write_bytes(text)
    elif path.read_bytes() != text:
        raise UserError(
            f"{path.parent} holds a demo with other settings ({path.name} differs)",
            "give another --out, or delete that folder",
        )


def describe_job(options: DemoOptions) -> tuple[InstrumentConfig, JobPlan]:
    """Return the instrument (with its slides) and the plan that the options ask for."""
    table: dict[str, Any] = {"seed": options.seed}
    if options.images:
        contents = [_extent(image, options.pixel_size_um) for image in options.images]
        phone = _phone_for(contents)
        table["phone"] = {"bayer_rows": phone.bayer_rows, "bayer_columns": phone.bayer_columns}
        slides = _image_slides(options, contents, phone)
    else:
        slides = _procedural_slides(options)
    table["slides"] = {name: spec.model_dump(mode="json", exclude_none=True) for name, (spec, _) in slides.items()}
    return InstrumentConfig(twin=table), JobPlan(slides=tuple(plan for _, plan in slides.values()))


def _procedural_slides(options: DemoOptions) -> dict[str, tuple[SlideSpec, SlidePlan]]:
    roles: dict[str, Role] = {
        "training-1": "training", "training-2": "training", "validation": "validation", "blind": "blind",
    }
    slides = {}
    for number, (name, role) in enumerate(roles.items()):
        spec = SlideSpec.model_validate({"specimen": options.stain, "seed": 100 * options.seed + number + 1})
        side = 3 if role == "validation" else _MAX_GRID
        capture = GridPlan(rows=side, columns=side, overlap=_GAP)
        slides[name] = (spec, SlidePlan(name=name, role=role, stain=options.stain, scan=_SCAN, capture=capture))
    return slides


def _image_slides(
    options: DemoOptions, contents: list[RegionUm], phone: PhoneParameters
) -> dict[str, tuple[SlideSpec, SlidePlan]]:
    """Return one slide per image, or three cut from a single one."""
    field_um = _field_um(phone)
    if len(options.images) == 1:
        image, whole = options.images[0], contents[0]
        parts = cut_into_parts(whole.width_um, whole.height_um, max(field_um))
        return {
            role: _image_slide(role, role, image, parts[role], field_um, options, cut=True) for role in get_args(Role)
        }
    named = zip(_file_roles(len(options.images)), options.images, contents, strict=True)
    return {
        name: _image_slide(name, role, image, content, field_um, options, cut=False)
        for (name, role), image, content in named
    }


def _extent(image: Path, pixel_size_um: float | None) -> RegionUm:
    extent = ImageSpecimen(image, pixel_size_um, None).extent
    if extent is None:
        raise PlanError(f"{image} has no bounds", "give an image file")
    return extent


def _phone_for(contents: list[RegionUm]) -> PhoneParameters:
    """Return the default phone, its sensor read out in part where the specimens are small, for eight blind fields.

    A single image should be six fields long (one each for training and validation, two blind ones, and two gaps) and
    four wide; of several, the blind ones together should hold eight.
    """
    phone = load_parameters().phone
    shortest_um = min(min(content.width_um, content.height_um) for content in contents)
    if len(contents) == 1:
        room_um = min(max(contents[0].width_um, contents[0].height_um) / 6, shortest_um / 4)
    else:
        blind = sum(role == "blind" for _, role in _file_roles(len(contents)))
        room_um = shortest_um / math.ceil(math.sqrt(_BLIND_FIELDS / blind))
    room_px = int(room_um / phone.bayer_pixel_um) // 4 * 4
    side_px = max(_LEAST_BAYER_PX, room_px)
    return phone.model_copy(update={
        "bayer_rows": min(phone.bayer_rows, side_px), "bayer_columns": min(phone.bayer_columns, side_px),
    })


def _image_slide(
    name: str,
    role: Role,
    image: Path,
    content: RegionUm,
    field_um: tuple[float, float],
    options: DemoOptions,
    *,
    cut: bool,
) -> tuple[SlideSpec, SlidePlan]:
    """Return a slide that shows (a part of) an image, with fields over its own content.

    Fields that are evaluated stand side by side within the content; training fields overlap by half, since a small
    specimen seen through differing captures is still worth more than one seen once.
    """
    bounds = (content.x_um, content.y_um, content.width_um, content.height_um)
    spec = SlideSpec(
        specimen="image", seed=options.seed, image=image.resolve(), pixel_size_um=options.pixel_size_um,
        part_um=bounds if cut else None,
    )
    overlap = 0.5 if role == "training" else 0.0
    columns, rows = (
        min(_MAX_GRID, max(3 if role == "training" else 1, int(length / (field * (1 - overlap)) + 1e-6)))
        for length, field in zip((content.width_um, content.height_um), field_um, strict=True)
    )
    plan = SlidePlan(
        name=name, role=role, scan=_SCAN, capture=GridPlan(rows=rows, columns=columns, overlap=overlap),
        centre_um=content.centre_um, content_um=bounds,
    )
    return spec, plan


def _file_roles(count: int) -> list[tuple[str, Role]]:
    """Return name and role of each file: the last third is blind, the one before it validation, the rest training."""
    if count < 3:
        raise PlanError(
            f"{count} images are too few for training, validation and blind slides",
            "give one image, which is cut in three, or at least three",
        )
    blind = count // 3
    training = count - blind - 1
    before: list[Role] = ["training"] * training
    after: list[Role] = ["blind"] * blind
    roles: list[Role] = [*before, "validation", *after]
    return [(f"{role}-{number + 1}", role) for number, role in enumerate(roles)]


def _field_um(phone: PhoneParameters) -> tuple[float, float]:
    """Return width and height of a phone's field of view."""
    return phone.bayer_columns * phone.bayer_pixel_um, phone.bayer_rows * phone.bayer_pixel_um
