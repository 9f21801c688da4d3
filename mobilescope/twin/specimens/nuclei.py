"""Nuclei of a tissue section: outline, envelope, chromatin and nucleoli."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid
from mobilescope.twin.specimens.stamps import Float, blob, harmonics, inside, line, stamps


@dataclass(frozen=True, eq=False)
class Nuclei:
    """N nuclei; arrays have the shape (N,).

    Attributes
    ----------
    long_um, wide_um : ndarray
        Half axes.
    angle : ndarray
        Direction of the long axis in radians.
    amount : ndarray
        Uptake of the nuclear dye.
    open_share : ndarray
        0 for evenly dark chromatin, 1 for a pale inside with a dark envelope.
    corner : ndarray
        Amplitude of the outline's three-fold deviation from an ellipse.
    turn : ndarray
        Direction in radians in which the nucleolus lies.
    """

    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    long_um: Float
    wide_um: Float
    angle: Float
    amount: Float
    open_share: Float
    corner: Float
    turn: Float

    @classmethod
    def joined(cls, parts: list[Nuclei]) -> Nuclei:
        """Return all nuclei of one or more groups."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def radii_um(self) -> Float:
        """Return the radius of the disc of the same area."""
        return np.sqrt(self.long_um * self.wide_um)


def paint_nuclei(grid: PixelGrid, nuclei: Nuclei, clumps: Float) -> tuple[Float, Float]:
    """Stamp nuclei.

    Parameters
    ----------
    clumps : ndarray, shape (rows, columns), float32
        Chromatin texture, about -1 to 1.

    Returns
    -------
    dye, cover : ndarray, shape (rows, columns), float32
        Amount of nuclear dye, and the share of each pixel under a nucleus (above 1 where nuclei overlap).
    """
    dye, cover = np.zeros((2, grid.rows, grid.columns), dtype=np.float32)
    pitch = grid.pixel_size_um
    squeeze = np.sqrt(nuclei.long_um / nuclei.wide_um)
    cos, sin = np.cos(nuclei.angle), np.sin(nuclei.angle)
    spot = 0.4 * nuclei.wide_um
    parameters = np.stack([
        cos / squeeze, sin / squeeze, cos * squeeze, sin * squeeze, nuclei.radii_um(), nuclei.amount, nuclei.open_share,
        nuclei.corner, spot * np.cos(nuclei.turn), spot * np.sin(nuclei.turn), nuclei.wide_um,
    ])[:, :, None, None]
    for stamp in stamps(grid, nuclei.x_um, nuclei.y_um, 9.0):
        cl, sl, cw, sw, radius, amount, pale, corner, spot_x, spot_y, wide = parameters[:, stamp.chosen]
        # In (u, v) the ellipse is a circle of the same area; distances are scaled back by its local stretch.
        u = cl * stamp.dx_um + sl * stamp.dy_um
        v = cw * stamp.dy_um - sw * stamp.dx_um
        r, _, s2, c3, _ = harmonics(u, v)
        outline = radius * (1 + corner * c3 + 0.5 * corner * s2)
        distance = (r - outline) * (wide / radius)
        share = inside(distance, pitch, 0.25)
        rho2 = np.minimum((r / outline) ** 2, 1)
        envelope = line(distance + 0.25, 0.22, pitch)
        nucleolus = blob((stamp.dx_um - spot_x) ** 2 + (stamp.dy_um - spot_y) ** 2, 0.42, pitch)
        even = amount * share * ((1 - pale) + 0.55 * pale * rho2 + 0.32 * envelope + 0.75 * pale * nucleolus)
        stamp.add(dye, even)
        stamp.add(dye, amount * share * (0.26 + 0.26 * pale), clumps)
        stamp.add(cover, share)
    return dye, cover
