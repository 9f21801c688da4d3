"""From measures of a picture to a trust state with reasons: which measure says what, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

State = Literal["trusted", "caution", "not for use"]
_ORDER: tuple[State, ...] = ("trusted", "caution", "not for use")
Finding = tuple[State, str]


@dataclass(frozen=True, eq=False)
class TrustReport:
    """How far the enhancement of one picture can be trusted.

    Attributes
    ----------
    state : State
    reasons : tuple of str
        What stands against it, the worst first: cause, then remedy. Empty for a trusted picture.
    measures : dict
        What was measured, see `mobilescope.enhance.trust.TrustAssessor.assess`.
    disagreement : ndarray, shape (rows, columns), float32, optional
        Standard deviation of the enhanced picture's luminance, 0–1, on the input's grid, over flips and turns of the
        input and over the ensemble.
    """

    state: State
    reasons: tuple[str, ...]
    measures: dict[str, float]
    disagreement: NDArray[np.float32] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return state, reasons and measures as JSON-ready values; what is not finite is null."""
        return {
            "state": self.state,
            "reasons": list(self.reasons),
            "measures": {
                name: round(value, 6) if math.isfinite(value) else None for name, value in self.measures.items()
            },
        }


@dataclass(frozen=True)
class Limits:
    """From where on a measure means caution, and from where on that a picture is not for use."""

    caution: float
    refusal: float

    def state(self, value: float) -> State:
        """Return a value's state."""
        if value < self.caution:
            return "trusted"
        return "caution" if value < self.refusal else "not for use"


@dataclass(frozen=True)
class ModelFacts:
    """What a verdict has to know of a model."""

    stain: str
    input_pixel_um: float
    has_statistics: bool


LEVELS = Limits(caution=1.0, refusal=2.0)
_WHITE = Limits(caution=0.05, refusal=0.3)
_BLACK = Limits(caution=0.2, refusal=0.6)
# Of a pixel size that is told: how much larger than the other the larger of the two is.
_PIXEL_SIZE_OFF = 0.1
_LEAST_SPECIMEN = 0.02
# From here on another sampling, or blur, accounts for what is strange about a picture's detail. Blur is what looks like
# blur most of all; the finest detail of a picture may then differ by what denoising and compression made of it.
_EXPLAINED_BY_SAMPLING = 0.65
_EXPLAINED_BY_BLUR = 0.4


def judge(
    measures: Mapping[str, float], model: ModelFacts, disagreement: NDArray[np.float32] | None = None
) -> TrustReport:
    """Return the report on measures, of which any may be missing; ``level`` is added to them."""
    known = {name: value for name, value in measures.items() if name != "level"}
    if "pixel_size_ratio" in known:
        ratio = known["pixel_size_ratio"]
        known["pixel_size_level"] = (max(ratio, 1 / ratio) - 1) / _PIXEL_SIZE_OFF
    levels = [value for name, value in known.items() if name.endswith("_level")]
    if levels:
        known["level"] = max(levels)
    findings = [*_light(known), *_pixel_size(known, model), *_content(known, model), *_training_set(known, model)]
    findings.append((
        LEVELS.state(known.get("disagreement_level", 0.0)),
        "the network draws other details when the picture is turned; rely on none that the map of disagreement shows",
    ))
    against = [finding for finding in findings if finding[0] != "trusted"]
    against.sort(key=lambda finding: -_ORDER.index(finding[0]))
    state = against[0][0] if against else "trusted"
    return TrustReport(state, tuple(reason for _, reason in against), known, disagreement)


def _light(known: Mapping[str, float]) -> list[Finding]:
    white, black = known.get("white_share", 0.0), known.get("black_share", 0.0)
    return [
        (_WHITE.state(white), f"{white:.0%} of the picture is overexposed; expose less and capture again"),
        (_BLACK.state(black), f"{black:.0%} of the picture is black; switch the light on or expose longer"),
    ]


def _pixel_size(known: Mapping[str, float], model: ModelFacts) -> list[Finding]:
    told = known.get("pixel_size_ratio", 1.0) * model.input_pixel_um
    return [(
        LEVELS.state(known.get("pixel_size_level", 0.0)),
        f"the picture is sampled at {told:.3g} µm, but the model was trained at {model.input_pixel_um:.3g} µm; "
        "resample the picture, or use a model for its pixel size",
    )]


def _content(known: Mapping[str, float], model: ModelFacts) -> list[Finding]:
    findings: list[Finding] = []
    if "specimen_share" not in known:
        findings.append(("caution", "the picture is too small to be judged; enhance a larger part of the field"))
    elif known["specimen_share"] < _LEAST_SPECIMEN or ("detail_level" not in known and model.has_statistics):
        findings.append(("caution", "there is too little specimen in the picture; move to a field that shows more"))
    if not model.has_statistics:
        findings.append((
            "caution",
            "this model carries no statistics of its training set; train it again to have pictures held against them",
        ))
    return findings


def _training_set(known: Mapping[str, float], model: ModelFacts) -> list[Finding]:
    """Name the cause by which measures are unlike the training set; one cause's consequences give no reasons."""
    colour, network, detail = (known.get(f"{name}_level", 0.0) for name in ("colour", "network", "detail"))
    blur, sampling = known.get("blur_level", 0.0), known.get("sampling_level", 0.0)
    told = "pixel_size_ratio" in known
    told_off = known.get("pixel_size_level", 0.0) >= LEVELS.caution
    strange = max(network, detail)
    enough = _EXPLAINED_BY_BLUR if blur > sampling else _EXPLAINED_BY_SAMPLING
    explained = max(blur, sampling) >= LEVELS.caution and known.get("detail_explained", 0.0) >= enough
    if explained and told_off and sampling > blur:
        return [(LEVELS.state(colour), _colours(model))]  # what was told accounts for the rest
    if explained and (blur >= sampling or (told and known["sampled_um"] < model.input_pixel_um)):
        state = LEVELS.state(max(blur, sampling, colour, strange))
        return [(state, "the picture is out of focus; refocus and capture again")]
    if explained and colour < LEVELS.refusal:  # other colours as well make another specimen likelier
        looks = (
            f"the specimen looks as if sampled at {known['sampled_um']:.2g} µm, but the model was trained at "
            f"{model.input_pixel_um:.3g} µm; check the magnification, or use a model for this pixel size"
        )
        return [(LEVELS.state(max(sampling, strange)), looks), (LEVELS.state(colour), _colours(model))]
    strange = max(strange, blur, sampling)
    stain = "" if model.stain == "unknown" else f" ({model.stain})"
    if colour >= LEVELS.caution and max(detail, blur, sampling) >= LEVELS.caution:
        return [(LEVELS.state(max(colour, strange)), (
            f"colours and structures are not those of the training set{stain}; use a model trained on this specimen "
            "and stain"
        ))]
    if colour >= LEVELS.caution:
        return [(LEVELS.state(max(colour, strange)), _colours(model))]
    return [(LEVELS.state(strange), (
        f"the structures are not those of the training set{stain}; check for dirt, compression and sharpening, or use "
        "a model trained on this specimen"
    ))]


def _colours(model: ModelFacts) -> str:
    stain = "" if model.stain == "unknown" else f" ({model.stain})"
    return (
        f"the colours are not those of the training set{stain}; check light, exposure and white balance, or use a "
        "model for this stain"
    )
