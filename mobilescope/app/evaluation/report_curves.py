"""Curves of the report as SVG data URIs."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mobilescope.app.evaluation.focus_stack import FocusStack
from mobilescope.app.evaluation.resolution import SHOWN_BY, Resolution
from mobilescope.app.evaluation.score_tables import METHOD_NAMES
from mobilescope.imaging.focus_depth import NEAR_PEAK
from mobilescope.imaging.mtf import CUT_OFF_CONTRAST

_COLOURS = {
    "phone": "#b5651d", "bicubic": "#b5651d", "colour": "#7a7a7a", "network": "#1f5f8b", "benchtop": "#2e7d32",
}


def training_curve(log: Path) -> str:
    """Return the validation SSIM over steps, or nothing where there is no log."""
    if not log.exists():
        return ""
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axes = _axes("step", "validation SSIM")
    steps = [int(row["step"]) for row in rows]
    axes.plot(steps, [float(row["validation_ssim"]) for row in rows], color="#1f5f8b", marker="o", markersize=3)
    return _svg_uri(figure)


def contrast_curve(resolution: Resolution) -> str:
    """Return the contrast of a target's bars over their frequency."""
    figure, axes = _axes("line pairs per mm", "contrast")
    frequencies = [element.line_pairs_per_mm for element in resolution.elements]
    for name in SHOWN_BY:
        contrasts = [element.contrast[name] for element in resolution.elements]
        axes.plot(frequencies, contrasts, color=_COLOURS[name], marker="o", markersize=3, label=name)
    axes.axhline(CUT_OFF_CONTRAST, color="#999999", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    ticks = [100, 200, 300, 500, 700, 1000]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return _svg_uri(figure)


def focus_curve(stack: FocusStack) -> str:
    """Return the SSIM of each method over defocus, with the level that counts as useful."""
    figure, axes = _axes("defocus, µm", "SSIM")
    for method in stack.methods:
        axes.plot(
            stack.defocus_um, stack.curve(method), color=_COLOURS[method], marker="o", markersize=3,
            label=METHOD_NAMES[method],
        )
    axes.axhline(NEAR_PEAK * stack.curve(stack.reference).max(), color="#999999", linewidth=0.8, linestyle="--")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return _svg_uri(figure)


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
