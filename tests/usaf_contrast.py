"""Contrast of three bars: as measured in a profile, and as a Gaussian blur should leave it."""

from __future__ import annotations

import numpy as np
from scipy.special import erf


def bar_contrast(profile, centres_px):
    """Return (max - min) / (max + min) at the bars and gaps of a profile, 0 where the bars are not the darker."""
    first, middle, last = centres_px
    at = np.interp([first, middle, last, (first + middle) / 2, (middle + last) / 2], np.arange(profile.size), profile)
    dark, bright = at[:3].mean(), at[3:].mean()
    return max(0.0, float((bright - dark) / (bright + dark)))


def gaussian_contrast(bar_width_um, sigma_um, *, veil=0.0):
    """Return the same for three opaque bars on clear glass behind a Gaussian blur, and a veil of stray light."""

    def light(x_um):
        middles = np.array([-2, 0, 2]) * bar_width_um
        far, near = ((middles + side * bar_width_um / 2 - x_um) / (sigma_um * np.sqrt(2)) for side in (1, -1))
        covered = np.sum(erf(far) - erf(near)) / 2
        return (1 - veil) * (1 - covered) + veil

    dark = np.mean([light(k * bar_width_um) for k in (-2, 0, 2)])
    bright = np.mean([light(k * bar_width_um) for k in (-1, 1)])
    return (bright - dark) / (bright + dark)
