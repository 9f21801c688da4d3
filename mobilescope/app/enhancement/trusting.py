"""How far a picture of any size can be trusted: a whole one as it is, a slide by windows of it."""

from __future__ import annotations

import math
from typing import get_args

from mobilescope.app.enhancement.sampling import sample_windows
from mobilescope.app.pictures.images import Picture
from mobilescope.enhance.trust import TrustAssessor, TrustReport
from mobilescope.enhance.verdict import State

_STATES = get_args(State)
_MOST_WHOLE_PX = 2048 * 2048
_WINDOW_PX = 512
_WINDOWS = 16
# A slide is as good as the window that nine in ten are no worse than: single folds and bubbles don't condemn it.
_QUANTILE = 0.9


def assess_picture(assessor: TrustAssessor, picture: Picture, pixel_size_um: float | None) -> TrustReport:
    """Judge a picture; one of more than 2048² px by up to 16 windows of 512 px that show specimen.

    The report of a slide is that of the window which nine tenths of the windows are no worse than, with the numbers
    of windows by state among its measures.
    """
    rows, columns, _ = picture.shape
    if rows * columns <= _MOST_WHOLE_PX:
        return assessor.assess(picture.read(), pixel_size_um=pixel_size_um)
    windows = sample_windows(picture, _WINDOW_PX, _WINDOWS)
    reports = [assessor.assess(window, pixel_size_um=pixel_size_um) for window in windows]
    reports.sort(key=lambda report: (_STATES.index(report.state), len(report.reasons)))
    found = reports[math.ceil(_QUANTILE * len(reports)) - 1]
    counts = {f"windows {state}": float(sum(each.state == state for each in reports)) for state in _STATES}
    share = sum(_STATES.index(each.state) >= _STATES.index(found.state) for each in reports)
    reasons = found.reasons
    if found.state != "trusted":
        reasons += (f"the slide was judged by {len(reports)} windows, {share} of which are no better",)
    return TrustReport(found.state, reasons, found.measures | counts)
