"""Trypanosoma brucei in a blood smear: a slender wavy body, nucleus, kinetoplast and undulating membrane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid
from mobilescope.twin.specimens.blood_cells import Dyes, Texture
from mobilescope.twin.specimens.scatter import Sites
from mobilescope.twin.specimens.stamps import Float, Window, blob, inside, line, window

_POINTS = 48
_MARGIN_UM = 3.0


@dataclass(frozen=True, eq=False)
class Bodies:
    """Shapes of N trypanosomes.

    Attributes
    ----------
    path_um : ndarray, shape (N, P, 2), float64
        Centreline as (x, y) from the posterior end to the tip of the flagellum.
    step_um : ndarray, shape (N,)
        Distance between neighbouring points of a centreline.
    radii_um : ndarray, shape (N,)
        Farthest reach of the centreline from its middle.
    """

    path_um: NDArray[np.float64]
    step_um: NDArray[np.float64]
    radii_um: NDArray[np.float64]

    def centreline_points(self) -> NDArray[np.float64]:
        """Return every fourth point of all centrelines, shape (M, 2)."""
        return self.path_um[:, ::4].reshape(-1, 2)


def bodies(sites: Sites) -> Bodies:
    """Bend a centreline for each site: a slow curve with one and a half to two and a half waves on it."""
    along = np.linspace(0, 1, _POINTS)
    length = sites.uniform(1, 20, 25).astype(np.float64)
    waves, phase = sites.uniform(2, 1.4, 2.4)[:, None], sites.uniform(3, 0, 2 * np.pi)[:, None]
    heading = (
        sites.uniform(4, 0, 2 * np.pi)[:, None]
        + sites.uniform(5, -2.6, 2.6)[:, None] * (along - 0.5)
        + sites.uniform(6, 0.45, 0.95)[:, None] * np.sin(2 * np.pi * waves * along + phase)
    )
    step = length / (_POINTS - 1)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=2), axis=1) * step[:, None, None]
    path -= (path.min(axis=1, keepdims=True) + path.max(axis=1, keepdims=True)) / 2
    radii = np.hypot(path[..., 0], path[..., 1]).max(axis=1)
    centres = sites.points()
    return Bodies(path + centres[:, None, :], step, radii)


def paint_trypanosomes(grid: PixelGrid, sites: Sites, dyes: Dyes, texture: Texture) -> None:
    """Paint every trypanosome near the grid."""
    shapes = bodies(sites)
    side = np.where(sites.uniform(7) < 0.5, -1.0, 1.0)
    thickness, dye, phase = sites.uniform(8, 0.85, 1.1), sites.uniform(9, 0.8, 1.1), sites.uniform(10, 0, 2 * np.pi)
    for k in range(len(sites)):
        x, y = float(sites.x_um[k]), float(sites.y_um[k])
        path = (shapes.path_um[k] - (x, y)).astype(np.float32)
        (left, top), (right, bottom) = path.min(axis=0) - _MARGIN_UM, path.max(axis=0) + _MARGIN_UM
        place = window(grid, x, y, float(left), float(right), float(top), float(bottom))
        if place is not None:
            position, offset = _along_and_across(place, path, float(shapes.step_um[k]))
            _paint(
                place, position, offset * np.float32(side[k]), float(shapes.step_um[k]) * (_POINTS - 1),
                (float(thickness[k]), float(dye[k]), float(phase[k])), grid.pixel_size_um, dyes, texture,
            )


def _along_and_across(place: Window, path: Float, step_um: float) -> tuple[Float, Float]:
    """Return for each pixel its place along the centreline (0–1) and its signed distance from it in µm."""
    shape = np.broadcast_shapes(place.dx_um.shape, place.dy_um.shape)
    best = np.full(shape, np.inf, dtype=np.float32)
    nearest = np.zeros(shape, dtype=np.intp)
    for k, (x, y) in enumerate(path):
        squared = (place.dx_um - x) ** 2 + (place.dy_um - y) ** 2
        closer = squared < best
        best[closer] = squared[closer]
        nearest[closer] = k
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    dx, dy = place.dx_um - path[nearest, 0], place.dy_um - path[nearest, 1]
    tx, ty = tangent[nearest, 0], tangent[nearest, 1]
    forward = np.clip(dx * tx + dy * ty, -step_um / 2, step_um / 2)
    across = tx * dy - ty * dx
    beyond = np.hypot(dx - forward * tx, dy - forward * ty)
    position = (nearest + forward / step_um) / (len(path) - 1)
    return position.astype(np.float32), np.copysign(beyond, across).astype(np.float32)


def _paint(
    place: Window, position: Float, offset: Float, length_um: float, look: tuple[float, float, float],
    pitch: float, dyes: Dyes, texture: Texture,
) -> None:
    """Paint one body from its own coordinates; ``look`` is thickness, stain uptake and phase of the membrane."""
    thickness, dye, phase = look
    part = place.part
    blunt = np.sqrt(np.clip(position / 0.10, 0.12, 1))
    half_width = thickness * blunt * np.clip(1.12 - 1.12 * np.maximum(position - 0.38, 0) / 0.45, 0.0, 1)
    distance = np.abs(offset) - half_width
    in_body = np.where(half_width > 0.05, inside(distance, pitch, 0.25), 0)
    grain = 1 + 0.2 * texture.medium[part] + 0.15 * texture.fine[part]
    rim = line(distance + 0.2, 0.18, pitch)
    # The flagellum leaves near the kinetoplast, runs along the wavy edge of the membrane and ends free.
    attached = np.clip((0.86 - position) / 0.15, 0, 1) * np.clip((position - 0.05) / 0.08, 0, 1)
    edge = half_width + attached * (0.45 + 0.42 * np.sin(2 * np.pi * 5 * position + phase))
    flagellum = line(offset - edge, 0.17, pitch) * (position > 0.06)
    film = np.where((offset > 0) & (position > 0.06), inside(offset - edge, pitch), 0) * (1 - in_body)
    dyes.blue[part] += dye * (0.34 * in_body * grain + 0.08 * film)
    dyes.purple[part] += dye * (in_body * (0.17 * grain + 0.14 * rim) + 0.42 * flagellum + 0.05 * film)
    dyes.plasma[part] -= 0.08 * line(distance - 0.55, 0.3, pitch) * (position < 0.9)
    along_um = (position - 0.42) * length_um
    nucleus = inside(np.hypot(along_um / 1.2, offset / 0.85) * 0.85 - 0.85, pitch, 0.3)
    dyes.purple[part] += nucleus * (0.75 + 0.15 * texture.medium[part])
    kinetoplast = ((position - 0.055) * length_um) ** 2 + offset**2
    dyes.purple[part] += 1.3 * blob(kinetoplast, 0.33, pitch)
