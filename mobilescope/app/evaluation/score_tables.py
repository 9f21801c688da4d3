"""The tables of an evaluation: R18's Tables 2 and 3, colours, JPEG, cross-stain matrix, target and depth of field."""

from __future__ import annotations

from mobilescope.app.evaluation.cross_stains import CrossCell
from mobilescope.app.evaluation.focus_stack import FocusStack
from mobilescope.app.evaluation.resolution import SHOWN_BY, Resolution
from mobilescope.app.terminal.tables import MISSING, Table, figure, spread
from mobilescope.imaging.focus_depth import NEAR_PEAK, FocusDepth
from mobilescope.learn.evaluate import Evaluation
from mobilescope.learn.jpeg_scores import JpegScores

METHOD_NAMES = {
    "raw": "phone, raw",
    "bicubic": "phone, bicubic",
    "colour": "phone, bicubic + colour matrix",
    "rl": "phone, Richardson–Lucy + colour matrix",
    "network": "network",
}
METRICS = (
    ("ssim", "SSIM (luminance)", 4),
    ("ssim_rgb", "SSIM (mean of channels)", 4),
    ("cie94", "CIE-94", 3),
    ("psnr_db", "PSNR, dB", 2),
    ("detail", "detail beyond the phone's cut-off (correlation)", 3),
    ("noise", "noise in flat places (sd of luminance)", 4),
)
_SHOWN_NAMES = {"phone": "phone", "network": "network", "benchtop": "benchtop"}


def warning(evaluation: Evaluation) -> str:
    """Return the warning that belongs to a forced evaluation, or nothing."""
    told = []
    if evaluation.trained_on:
        told.append(f"NOT BLIND: the model was trained on {', '.join(evaluation.trained_on)}.")
    if evaluation.missampled:
        told.append(
            f"OTHER SAMPLING: the pairs' pixels are {evaluation.pixel_ratio:.2f} times as large as the model's."
        )
    return " ".join(told)


def score_table(evaluation: Evaluation) -> Table:
    """Return a row for each metric and a column for each method and the benchtop, each with its interval."""
    rows = []
    for metric, title, digits in METRICS:
        cells = [spread(evaluation.interval(method, metric), digits) for method in evaluation.methods]
        own = spread(evaluation.label_noise, digits) if metric == "noise" else ""
        rows.append((title, *cells, own))
    columns = ("", *(METHOD_NAMES[method] for method in evaluation.methods), "benchtop")
    return Table("Scores", columns, tuple(rows), warning(evaluation))


def method_table(evaluation: Evaluation) -> Table:
    """Return a row for each method, as a terminal has room for: intervals for SSIM and CIE-94, means for the rest."""
    rows = []
    for method in evaluation.methods:
        means = {metric: evaluation.interval(method, metric) for metric, _, _ in METRICS}
        rows.append((
            METHOD_NAMES[method], spread(means["ssim"], 4), spread(means["cie94"], 3),
            *(figure(means[metric].mean, digits) for metric, _, digits in METRICS if metric not in ("ssim", "cie94")),
        ))
    own = figure(evaluation.label_noise.mean, 4)
    rows.append(("benchtop", *[""] * 5, own))
    title = f"{len(evaluation.fields)} fields of {', '.join(evaluation.slides)}, mean [95 % interval by field]"
    columns = ("", "SSIM", "CIE-94", "SSIM rgb", "PSNR, dB", "detail", "noise")
    return Table(title, columns, tuple(rows), warning(evaluation))


def gain_table(evaluation: Evaluation) -> Table:
    """Return the network's gain over each other method, paired by field."""
    rows = []
    for method in evaluation.methods:
        if method == "network":
            continue
        ratio = evaluation.interval(method, "cie94").mean / evaluation.interval("network", "cie94").mean
        rows.append((
            METHOD_NAMES[method], spread(evaluation.gain(method, "ssim"), 3, sign=True), f"{ratio:.1f}×",
            spread(evaluation.gain(method, "detail"), 3, sign=True),
        ))
    return Table("Gain of the network over", ("", "SSIM", "CIE-94 lower by", "detail"), tuple(rows))


def colour_table(evaluation: Evaluation) -> Table:
    """Return how far each method's mean colours lie from the benchtop's."""
    rows = []
    for method in evaluation.methods:
        distance = evaluation.colour(method)
        rows.append((
            METHOD_NAMES[method], figure(distance.offset, 2), figure(distance.spread, 2),
            figure(evaluation.interval(method, "cie94").mean, 3),
        ))
    return Table(
        "Colour standardisation: distance from the benchtop",
        ("", "offset of the mean colour, ΔE*ab", "spread from field to field, ΔE*ab", "CIE-94 per pixel"),
        tuple(rows),
        "Offset: distance of the mean colours over all fields. Spread: root mean square of what remains in each field "
        "after the mean difference, which one setting for all can't mend.",
    )


def jpeg_table(scores: JpegScores) -> Table:
    """Return a row for each size of the input."""
    rows = []
    for wanted in scores.ratios:
        interval = {name: scores.interval(wanted, name) for name in (
            "size_bytes", "ratio", "ssim_bicubic", "ssim_network", "cie94_bicubic", "cie94_network",
        )}
        qualities = sorted({field.quality for field in scores.fields if field.wanted == wanted and field.quality})
        quality = f"{qualities[0]} to {qualities[-1]}" if qualities else MISSING
        rows.append((
            "without loss" if wanted <= 1 else f"{wanted:g}× smaller", figure(interval["size_bytes"].mean / 1000, 1),
            f"{figure(interval['ratio'].mean, 1)}×", quality,
            spread(interval["ssim_bicubic"], 4), spread(interval["ssim_network"], 4),
            spread(interval["cie94_bicubic"], 3), spread(interval["cie94_network"], 3),
        ))
    return Table(
        "JPEG input",
        ("input", "kB", "ratio", "quality", "SSIM bicubic", "SSIM network", "CIE-94 bicubic", "CIE-94 network"),
        tuple(rows), "Size of a whole input; without loss 3 bytes a pixel. Mean [95 % interval by field].",
    )


def cross_tables(cells: tuple[CrossCell, ...]) -> list[Table]:
    """Return SSIM with its gain over bicubic, and CIE-94, of each model (rows) on each session (columns)."""
    models = list(dict.fromkeys(cell.model for cell in cells))
    sessions = list(dict.fromkeys(cell.session for cell in cells))
    at = {(cell.model, cell.session): cell for cell in cells}
    names = {cell.model: _named(str(cell.model), cell.model_stain) for cell in cells}
    names |= {cell.session: _named(str(cell.session), cell.session_stain) for cell in cells}
    columns = ("model \\ session", *(names[session] for session in sessions))
    forced = sorted({warning(cell.evaluation) for cell in cells} - {""})

    def table(title: str, metric: str, digits: int) -> Table:
        first = [at[models[0], session].evaluation for session in sessions]
        rows = [("phone, bicubic", *(figure(e.interval("bicubic", metric).mean, digits) for e in first))]
        for model in models:
            row = [names[model]]
            for session in sessions:
                evaluation = at[model, session].evaluation
                text = figure(evaluation.interval("network", metric).mean, digits)
                gain = evaluation.gain("bicubic", metric)
                star = " *" if warning(evaluation) else ""
                row.append(f"{text} ({spread(gain, digits, sign=True)}){star}")
            rows.append(tuple(row))
        note = "Mean over blind fields (difference from bicubic with its 95 % interval by field)."
        return Table(title, columns, tuple(rows), " ".join([note, *(f"* {text}" for text in forced)]))

    return [table("Cross-stain matrix: SSIM", "ssim", 3), table("Cross-stain matrix: CIE-94", "cie94", 2)]


def resolution_table(resolution: Resolution) -> Table:
    """Return a row for each element of the target, and the finest bars resolved."""
    rows = [
        (
            f"{element.group}-{element.element}", figure(element.bar_width_um, 3),
            figure(element.line_pairs_per_mm, 0), *(figure(element.contrast[name], 3) for name in SHOWN_BY),
        )
        for element in resolution.elements
    ]
    rows.append(("finest with 10 %", "", "", *(finest_text(resolution, name) for name in SHOWN_BY)))
    return Table(
        "USAF 1951 target: contrast of the bars",
        ("element", "line width, µm", "line pairs/mm", *(_SHOWN_NAMES[name] for name in SHOWN_BY)), tuple(rows),
        f"(max − min)/(max + min) across the three bars in linear light, mean over both directions and "
        f"{resolution.captures} captures; 0 where bars stand in wrong places.",
    )


def finest_text(resolution: Resolution, name: str) -> str:
    """Return the finest line width with 10 % contrast as text."""
    finest = figure(resolution.finest_um(name), 2)
    if finest == MISSING:
        return "none"
    return f"{'≤ ' if resolution.is_limit(name) else ''}{finest} µm"


def focus_table(stack: FocusStack) -> Table:
    """Return a row for each method: SSIM over defocus, and both ranges."""
    steps = [f"{z:+g}" if z else "0" for z in stack.defocus_um]
    rows = [
        (
            METHOD_NAMES[method], *(figure(value, 3) for value in stack.curve(method)),
            _range_text(stack.depth(method)), _range_text(stack.useful(method)),
        )
        for method in stack.methods
    ]
    count = len({(score.slide, score.field) for score in stack.scores})
    gain = f"the network's is {stack.gain():.1f} times as long" if stack.gain() > 0 else "the network never does"
    lost = sum(not score.registered for score in stack.scores)
    note = (
        f"SSIM against the benchtop in focus at each defocus in µm, mean over {count} field{'s' if count > 1 else ''}. "
        f"Depth: at least {NEAR_PEAK:g} of the method's own peak. Useful: at least {NEAR_PEAK:g} of the best that "
        f"“{METHOD_NAMES[stack.reference]}” reaches; {gain}."
    )
    if lost:
        note += f" {lost} captures were too blurred to be registered and count as 0."
    return Table("Depth of field", ("", *steps, "depth, µm", "useful, µm"), tuple(rows), note)


def _range_text(depth: FocusDepth) -> str:
    if depth.depth_um == 0:
        return MISSING
    return f"{'' if depth.whole else '≥ '}{depth.depth_um:.1f}"


def _named(path: str, stain: str) -> str:
    return path if stain == "unknown" else f"{path} ({stain})"
