"""The map of a paired session: the slide as the benchtop saw it, with each field in the colour of what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from mobilescope.app.paired_sessions.pair_summary import FieldState, SlideSummary
from mobilescope.core.pair_link import INGESTED_ROW, SUGGESTED_ROW
from mobilescope.core.whole_files import replaced_when_written

# Told apart without red and green as well: by hue, lightness and line.
_COLOURS = {"fine": "#00724e", "fair": "#3fb68b", "rough": "#e0a100", "refused": "#c0392b", "open": "#5f6b7a"}
_MEANING = {
    "fine": "accepted, residual to 0.1 px", "fair": "accepted, to 0.25 px", "rough": "accepted, above",
    "refused": "refused", "open": "open",
}
# What stands before the number of a field that is not in the plan's grid.
_UNPLANNED = {SUGGESTED_ROW: "s", INGESTED_ROW: "c"}
_PANEL_INCHES = 5.0
_MOST_COLUMNS = 3


def coverage_path(session: Path) -> Path:
    """Return where a session's map stands: beside it."""
    return session.with_name(f"{session.stem}.coverage.png")


def write_coverage_map(summaries: Sequence[SlideSummary], path: Path) -> None:
    """Write the map of some slides as a PNG, under a temporary name first."""
    shown = [summary for summary in summaries if summary.fields or summary.content is not None] or list(summaries)
    columns = min(_MOST_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_PANEL_INCHES * columns, (_PANEL_INCHES + 0.4) * rows + 0.5), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for summary, axes in zip(shown, panels, strict=False):
        _draw(summary, axes)
    for axes in panels[len(shown):]:
        axes.set_axis_off()
    states = [state for state in _COLOURS if any(summary.count(state) for summary in shown)]
    if states:
        figure.legend(
            handles=[Patch(facecolor="none", edgecolor=_COLOURS[state], linewidth=2, label=_MEANING[state])
                     for state in states],
            loc="lower center", ncols=len(states), frameon=False, fontsize=9,
        )
    figure.tight_layout(rect=(0, 0.06 / rows, 1, 1))
    with replaced_when_written(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.12)


def _draw(summary: SlideSummary, axes: Axes) -> None:
    if summary.content is not None:
        region = summary.content.grid.region
        axes.imshow(
            summary.content.picture, extent=(region.x_um, region.right_um, region.bottom_um, region.y_um),
            interpolation="bilinear",
        )
    for each in summary.fields:
        _draw_field(each, axes)
    if summary.content is None:
        axes.invert_yaxis()
    axes.autoscale_view()
    axes.set_aspect("equal")
    covered = "" if summary.covered is None else f", {summary.covered:.0%} of the specimen"
    axes.set_title(f"{summary.slide}: {summary.accepted} of {len(summary.fields)} paired{covered}", fontsize=10)
    axes.set_xlabel("x (µm)", fontsize=9)
    axes.set_ylabel("y (µm)", fontsize=9)
    axes.tick_params(labelsize=8)


def _draw_field(each: FieldState, axes: Axes) -> None:
    region, colour = each.region, _COLOURS[each.state]
    axes.add_patch(Rectangle(
        (region.x_um, region.y_um), region.width_um, region.height_um, facecolor=colour if each.state != "open" else
        "none", alpha=0.18, edgecolor="none",
    ))
    axes.add_patch(Rectangle(
        (region.x_um, region.y_um), region.width_um, region.height_um, fill=False, edgecolor=colour, linewidth=1.6,
        linestyle="--" if each.state == "open" else "-", hatch="xx" if each.state == "refused" else None,
    ))
    name = f"{_UNPLANNED.get(each.row, f'{each.row},')}{each.column}"
    x_um, y_um = region.centre_um
    axes.text(
        x_um, y_um, name, color="white", fontsize=7, ha="center", va="center",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )
