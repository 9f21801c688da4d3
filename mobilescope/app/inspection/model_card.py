"""What a model file says of itself: JSON-ready facts, and lines for reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilescope.app.inspection.cards import card_line
from mobilescope.learn.checkpoint import load_model, read_reference
from mobilescope.learn.networks import R18_PARAMETERS
from mobilescope.learn.statistics import unpack

# Entries of a card's training record that have a line of their own.
_TOLD_APART = ("config", "slides", "steps_done", "best_step", "seconds")


def model_facts(path: Path) -> dict[str, Any]:
    """Return a model's card, its size and the names of its reference statistics; a damaged file is an error."""
    network, card, _ = load_model(path)
    reference = read_reference(path)
    unpack(reference, source=str(path))
    return {
        "file": str(path),
        **card.to_json(),
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "reference": sorted(reference),
        "problems": [],
    }


def card_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield a model's facts as a card."""
    network, training = facts["network"], facts["training"]
    factor = network["shuffle"] / network["stride"]
    r18 = " (R18's)" if facts["parameters"] == R18_PARAMETERS and factor == 2.5 else ""
    yield f"model card of {facts['file']}"
    what = f"enhancement of phone pictures by {factor:g}×; its outputs are computed, not for diagnosis"
    yield card_line("what", what)
    yield card_line("network", f"{facts['parameters']:,} parameters{r18}: {_joined(network)}")
    yield card_line("pixels", f"{facts['input_pixel_um']:g} µm in, {facts['output_pixel_um']:g} µm out")
    yield card_line("instrument", facts["instrument"])
    yield card_line("stain", facts["stain"])
    yield card_line("normalisation", facts["normalisation"])
    yield card_line("warp", f"{facts['warp']} (which of the two images was resampled onto the other)")
    for role, slides in training.get("slides", {}).items():
        yield card_line(f"{role} slides", ", ".join(slides) or "none")
    if "steps_done" in training:
        took = f" in {training['seconds']:.0f} s" if "seconds" in training else ""
        best = training.get("best_step", "?")
        yield card_line("trained", f"{training['steps_done']} steps{took}, best at step {best}")
    for key, value in training.items():
        if key not in _TOLD_APART:
            yield card_line(key.replace("_", " "), _said(_without_pictures(value) if key == "sources" else value))
    if "config" in training:
        yield card_line("configuration", _joined(training["config"]))
    kinds = sorted({name.partition(".")[0].replace("_", " ") for name in facts["reference"]})
    yield card_line("reference", f"statistics of its training set: {', '.join(kinds) or 'none'}")
    yield card_line("written by", f"mobilescope {facts['software_version']}, format {facts['format_version']}")
    yield card_line("problems", ", ".join(facts["problems"]) or "none")


def _without_pictures(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sources for reading: digests of captures are for comparing alone."""
    return [{key: value for key, value in source.items() if key != "pictures"} for source in sources]


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return _joined(value)
    if isinstance(value, (list, tuple)):
        return "; ".join(_said(item) for item in value) or "none"
    return str(value)


def _joined(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_said(value)}" for key, value in values.items())
