"""How the cells of a blood smear take up dye: red cells, leucocytes, platelets and specks of stain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import PixelGrid
from mobilescope.twin.specimens.noise import LatticeNoise
from mobilescope.twin.specimens.scatter import Sites
from mobilescope.twin.specimens.stamps import Float, Window, blob, harmonics, inside, line, stamps, window

_NEUTROPHIL, _EOSINOPHIL, _MONOCYTE, _LYMPHOCYTE = range(4)


@dataclass(frozen=True, eq=False)
class Texture:
    """Noise fields over a grid, shape (rows, columns), float32, unit deviation; named by their scale."""

    fine: Float
    medium: Float
    coarse: Float

    @classmethod
    def on_grid(cls, seed: int, grid: PixelGrid) -> Texture:
        """Return the fields of a seed: values 0.33, 0.75 and 2.2 µm apart."""
        fine, medium, coarse = (
            LatticeNoise(seed, 11 + k, cell_um).on_grid(grid) for k, cell_um in enumerate((0.33, 0.75, 2.2))
        )
        return cls(fine, medium, coarse)


@dataclass(frozen=True, eq=False)
class Dyes:
    """Amount of each dye per pixel, shape (rows, columns), float32; painted on in place."""

    pink: Float
    purple: Float
    blue: Float
    plasma: Float

    @classmethod
    def plasma_alone(cls, seed: int, grid: PixelGrid, texture: Texture) -> Dyes:
        """Return the empty smear: a film of dried plasma, uneven and finely grained."""
        empty = np.zeros((3, grid.rows, grid.columns), dtype=np.float32)
        wide = LatticeNoise(seed, 14, 60).on_grid(grid)
        plasma = 0.095 + 0.014 * wide + 0.006 * texture.coarse + 0.007 * texture.medium + 0.007 * texture.fine
        return cls(empty[0], empty[1], empty[2], plasma)

    def stacked(self) -> Float:
        """Return the amounts, at least 0, shape (rows, columns, 4)."""
        return np.maximum(np.stack([self.pink, self.purple, self.blue, self.plasma], axis=2), 0)


def red_cell_radii_um(cells: Sites) -> Float:
    """Return mean radii, shape (N,)."""
    return cells.uniform(1, 3.35, 4.05)


def paint_red_cells(grid: PixelGrid, cells: Sites, dyes: Dyes, texture: Texture) -> None:
    """Stamp biconcave discs: dense towards the rim, pale in the middle, with a dark membrane and a bright halo."""
    pitch = grid.pixel_size_um
    radius = red_cell_radii_um(cells)
    turn2, turn3, turn_pallor = (cells.uniform(channel, 0, 2 * np.pi) for channel in (2, 3, 4))
    oval, corner = 0.13 * cells.uniform(5) ** 2 + 0.01, cells.uniform(6, 0.0, 0.075)
    depth, dimple = cells.uniform(7, 0.3, 1.1), cells.uniform(8, 0.36, 0.56)
    amount, off_centre = cells.uniform(9, 0.34, 0.50), cells.uniform(10, 0.0, 0.5)
    slit = 1 + 1.6 * np.maximum(cells.uniform(11) - 0.8, 0) * 5
    per_cell = np.stack([
        radius, oval * np.cos(turn2), oval * np.sin(turn2), corner * np.cos(turn3), corner * np.sin(turn3),
        depth, dimple, amount, off_centre * np.cos(turn_pallor), off_centre * np.sin(turn_pallor), slit,
    ])[:, :, None, None]
    grain = 1 + 0.05 * texture.coarse + 0.06 * texture.medium + 0.065 * texture.fine
    for stamp in stamps(grid, cells.x_um, cells.y_um, 6.4):
        size, a2, b2, a3, b3, deep, wide, dye, shift_x, shift_y, long = per_cell[:, stamp.chosen]
        r, c2, s2, c3, s3 = harmonics(stamp.dx_um, stamp.dy_um)
        outline = size * (1 + a2 * c2 + b2 * s2 + a3 * c3 + b3 * s3)
        rho2 = (r / outline) ** 2
        from_dimple = (stamp.dx_um - shift_x) ** 2 + long * (stamp.dy_um - shift_y) ** 2
        pallor = np.exp(-((from_dimple / (wide * size) ** 2) ** 1.6))
        body = 0.84 + 0.24 * rho2 - deep * 0.66 * pallor
        distance = r - outline
        membrane = line(distance + 0.32, 0.2, pitch)
        bright = line(distance + 0.85, 0.28, pitch)
        stamp.add(dyes.pink, dye * inside(distance, pitch) * (body + 0.42 * membrane - 0.16 * bright), grain)
        stamp.add(dyes.plasma, -0.085 * line(distance - 0.45, 0.3, pitch))


def leucocyte_radii_um(cells: Sites) -> Float:
    """Return radii, shape (N,): lymphocytes are small, monocytes large."""
    small, large = np.array([5.6, 5.8, 7.0, 4.0]), np.array([6.8, 6.8, 8.4, 5.0])
    kind = _leucocyte_kinds(cells)
    return (small[kind] + (large - small)[kind] * cells.uniform(2)).astype(np.float32)


def _leucocyte_kinds(cells: Sites) -> NDArray[np.int64]:
    """Return which leucocyte each is, in the proportions of human blood."""
    return np.searchsorted(np.array([0.60, 0.65, 0.73]), cells.uniform(1))


def paint_leucocytes(grid: PixelGrid, cells: Sites, dyes: Dyes, texture: Texture) -> None:
    """Paint pale cytoplasm with granules and a lobed, clumped nucleus for each leucocyte."""
    radii, kinds = leucocyte_radii_um(cells), _leucocyte_kinds(cells)
    parameters = np.stack([cells.uniform(10 + channel) for channel in range(40)], axis=1)
    for x, y, radius, kind, own in zip(cells.x_um, cells.y_um, radii, kinds, parameters, strict=True):
        reach = 1.2 * radius + 1.5
        place = window(grid, x, y, -reach, reach, -reach, reach)
        if place is not None:
            _paint_leucocyte(place, grid.pixel_size_um, float(radius), int(kind), own, dyes, texture)


def _paint_leucocyte(
    place: Window, pitch: float, radius: float, kind: int, own: Float, dyes: Dyes, texture: Texture
) -> None:
    """Paint one leucocyte; ``own`` are its 40 uniform values."""
    part = place.part
    fine, medium, coarse = texture.fine[part], texture.medium[part], texture.coarse[part]
    r, c2, s2, c3, s3 = harmonics(place.dx_um, place.dy_um)
    shape = (own[:4] - 0.5) * np.float32(0.12)
    distance = r - radius * (1 + shape[0] * c2 + shape[1] * s2 + shape[2] * c3 + shape[3] * s3) + 0.12 * coarse
    cell = inside(distance, pitch)
    membrane = line(distance + 0.25, 0.22, pitch)
    nucleus_distance = _nucleus_distance(place, radius, kind, own) + 0.16 * coarse + 0.05 * medium
    nucleus = inside(nucleus_distance, pitch)
    clumps = np.tanh(1.0 * medium + 0.55 * fine + 0.7 * coarse)
    envelope = line(nucleus_distance + 0.22, 0.2, pitch)
    dense = {_NEUTROPHIL: 1.05, _EOSINOPHIL: 0.95, _MONOCYTE: 0.72, _LYMPHOCYTE: 1.1}[kind]
    dyes.purple[part] += nucleus * dense * (1 + 0.34 * clumps + 0.25 * envelope)
    dyes.blue[part] += nucleus * 0.12
    cytoplasm = cell * (1 - nucleus)
    granules = np.maximum(medium + 0.6 * fine - 0.4, 0)
    dyes.plasma[part] *= 1 - cell
    dyes.plasma[part] -= 0.08 * line(distance - 0.5, 0.3, pitch)
    if kind == _NEUTROPHIL:
        dyes.pink[part] += cytoplasm * (0.07 + 0.02 * fine)
        dyes.purple[part] += cytoplasm * (0.07 + 0.10 * granules + 0.08 * membrane)
    elif kind == _EOSINOPHIL:
        dyes.pink[part] += cytoplasm * (0.12 + 0.34 * np.tanh(2 * granules))
        dyes.purple[part] += cytoplasm * (0.03 + 0.06 * membrane)
    elif kind == _MONOCYTE:
        vacuoles = np.clip(coarse - 1.0, 0, 1)
        dyes.blue[part] += cytoplasm * (0.17 + 0.03 * coarse + 0.025 * fine + 0.08 * membrane) * (1 - 0.7 * vacuoles)
        dyes.purple[part] += cytoplasm * (0.05 + 0.06 * granules)
    else:
        dyes.blue[part] += cytoplasm * (0.30 + 0.06 * medium + 0.03 * fine + 0.08 * membrane)
        dyes.purple[part] += cytoplasm * 0.04


def _nucleus_distance(place: Window, radius: float, kind: int, own: Float) -> Float:
    """Return the signed distance in µm to the outline of the nucleus, lobes run together where they touch."""
    turn = 2 * np.pi * own[4]
    if kind == _LYMPHOCYTE:
        off = 0.07 * radius
        x, y = place.dx_um - off * np.cos(turn), place.dy_um - off * np.sin(turn)
        r, c2, s2, c3, s3 = harmonics(x, y)
        notch = 0.05 * (own[5] * c2 + own[6] * s2) + 0.04 * ((own[7] - 0.5) * c3 + (own[8] - 0.5) * s3)
        return r - 0.84 * radius * (1 + notch)
    if kind == _MONOCYTE:
        count, arc, size, ring, blend = 7, 2.6, 0.36, 0.30, 0.9
    elif kind == _EOSINOPHIL:
        count, arc, size, ring, blend = 2, 2.3, 0.37, 0.44, 0.35
    else:
        count = 3 + int(own[9] * 2.6)
        arc, size, ring, blend = 0.85 * count + 0.3, 0.44 - 0.045 * count, 0.47, 0.3
    steps = np.linspace(-0.5, 0.5, count) * arc
    wander = own[10 : 10 + count] - 0.5
    angles = turn + steps + 0.3 * wander
    rings = radius * (ring + 0.34 * (own[20 : 20 + count] - 0.5) * (kind == _NEUTROPHIL))
    x, y = rings * np.cos(angles), rings * np.sin(angles)
    sizes = radius * size * (0.85 + 0.3 * own[30 : 30 + count])
    total = np.zeros(np.broadcast_shapes(place.dx_um.shape, place.dy_um.shape), dtype=np.float32)
    for k in range(count):
        # Lobes are egg-shaped, long along the arc.
        cos, sin = np.cos(angles[k] + wander[k]), np.sin(angles[k] + wander[k])
        dx, dy = place.dx_um - x[k], place.dy_um - y[k]
        lobe = np.hypot(1.15 * (cos * dx + sin * dy), 0.88 * (cos * dy - sin * dx)) - sizes[k]
        total += np.exp(np.clip(lobe / -blend, -60, 60))
        if k:
            middle_x, middle_y = (x[k] + x[k - 1]) / 2, (y[k] + y[k - 1]) / 2
            along = np.hypot(x[k] - x[k - 1], y[k] - y[k - 1]) / 2
            ux, uy = (x[k] - x[k - 1]) / (2 * along), (y[k] - y[k - 1]) / (2 * along)
            dx, dy = place.dx_um - middle_x, place.dy_um - middle_y
            t = np.clip(dx * ux + dy * uy, -along, along)
            total += np.exp(np.clip((np.hypot(dx - t * ux, dy - t * uy) - 0.45) / -blend, -60, 60))
    return np.float32(-blend) * np.log(np.maximum(total, np.float32(1e-25)))


def platelet_radii_um(cells: Sites) -> Float:
    """Return mean radii, shape (N,)."""
    return cells.uniform(1, 0.95, 1.5)


def paint_platelets(grid: PixelGrid, platelets: Sites, specks: Sites, dyes: Dyes, texture: Texture) -> None:
    """Stamp ragged platelets with dark granules in a pale rim, and specks of precipitated stain."""
    pitch = grid.pixel_size_um
    radius = platelet_radii_um(platelets)
    turn, turn3 = platelets.uniform(2, 0, 2 * np.pi), platelets.uniform(3, 0, 2 * np.pi)
    per_cell = np.stack([
        radius, 0.25 * np.cos(turn), 0.25 * np.sin(turn), 0.14 * np.cos(turn3), 0.14 * np.sin(turn3),
        platelets.uniform(4, 0.35, 0.6),
    ])[:, :, None, None]
    granules = np.float32(0.75) + np.float32(0.6) * np.clip(texture.medium + 0.7 * texture.fine, -1, 2)
    for stamp in stamps(grid, platelets.x_um, platelets.y_um, 3.0):
        size, a2, b2, a3, b3, dye = per_cell[:, stamp.chosen]
        r, c2, s2, c3, s3 = harmonics(stamp.dx_um, stamp.dy_um)
        outline = size * (1 + a2 * c2 + b2 * s2 + a3 * c3 + b3 * s3)
        core = inside(r - 0.75 * outline, pitch, 0.5)
        stamp.add(dyes.purple, dye * core, granules)
        stamp.add(dyes.blue, 0.16 * inside(r - 1.1 * outline, pitch, 0.4))
    width = specks.uniform(1, 0.12, 0.34)[:, None, None]
    for stamp in stamps(grid, specks.x_um, specks.y_um, 1.5):
        stamp.add(dyes.purple, 0.8 * blob(stamp.dx_um**2 + stamp.dy_um**2, width[stamp.chosen], pitch))
