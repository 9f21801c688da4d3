"""Tiles land where they were cut from, and a tile that can't be placed by its content says so."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage

from mobilescope.core.errors import CancelledError, InputImageError, StitchingError
from mobilescope.imaging.blankness import is_blank
from mobilescope.imaging.blending import mosaic_shape
from mobilescope.imaging.neighbours import neighbour_pairs
from mobilescope.imaging.phase import flatten, pearson, phase_shift
from mobilescope.imaging.quick_shift import quick_shift
from mobilescope.imaging.stitching import solve_layout, tile_verdicts
from mobilescope.imaging.tile_pairs import PairShift, measure_pairs, survey_tiles

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TILE = (128, 144)
PITCH = (104, 116)
MAX_SHIFT_PX = 16


def needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is not beside the repository")
    return path


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """Texture without repetition, (900, 1000), about 0 to 255, periodic at its borders."""
    noise = np.random.default_rng(7).normal(size=(900, 1000))
    texture = scipy.ndimage.gaussian_filter(noise, 1.5, mode="wrap") + 2 * scipy.ndimage.gaussian_filter(
        noise, 6, mode="wrap"
    )
    return (128 + 40 * texture / texture.std()).astype(np.float32)


def shifted(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """The periodic image read at (row + dy, column + dx), exactly."""
    spectrum = scipy.ndimage.fourier_shift(np.fft.fft2(image), (-dy, -dx))
    return np.fft.ifft2(spectrum).real.astype(np.float32)


def grid(rows: int, columns: int) -> np.ndarray:
    return np.array([(r * PITCH[0], c * PITCH[1]) for r in range(rows) for c in range(columns)], dtype=np.float64)


class Scan:
    """Noisy tiles cut from a field at whole pixels, as a loader that keeps count."""

    def __init__(self, field, true_px, blank=(), noise=3.0, seed=0):
        self.true_px = np.rint(true_px).astype(int) + 40
        self.field, self.blank, self.noise, self.seed = field, set(blank), noise, seed
        self.loads: list[int] = []
        self.alive: list[weakref.ref] = []
        self.most_alive = 0

    def __call__(self, index: int) -> np.ndarray:
        self.loads.append(index)
        row, column = self.true_px[index]
        clean = self.field[row:row + TILE[0], column:column + TILE[1]]
        clean = np.full(TILE, 240.0) if index in self.blank else clean
        tile = (clean + np.random.default_rng([self.seed, index]).normal(0, self.noise, TILE)).astype(np.float32)
        self.alive.append(weakref.ref(tile))
        self.most_alive = max(self.most_alive, sum(ref() is not None for ref in self.alive))
        return tile

    def pairs(self, nominal_px) -> list[PairShift]:
        return measure_pairs(self, nominal_px, TILE, max_shift_px=MAX_SHIFT_PX)

    def errors_px(self, positions_px) -> np.ndarray:
        difference = positions_px - self.true_px
        return np.hypot(*(difference - np.median(difference, axis=0)).T)


def stage_errors(count: int, spread_px: float = 6.0, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-spread_px, spread_px, (count, 2))


def exact_pairs(true_px: np.ndarray, nominal_px: np.ndarray) -> list[PairShift]:
    return [
        PairShift(i, j, tuple((true_px[j] - true_px[i]).tolist()), 0.95, 0.03, True, "")
        for i, j in neighbour_pairs(nominal_px, TILE, 16)
    ]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.7), (30.4, -3.1), (-30.4, 3.1), (-12.5, -31.2), (12.5, 31.2)])
def test_shift_is_found_to_hundredths_of_a_pixel_with_its_sign(field, shift):
    moved = shifted(field, *shift)
    found = phase_shift(field[200:320, 200:330], moved[200:320, 200:330], max_shift_px=32)
    assert (found.dy_px, found.dx_px) == pytest.approx(shift, abs=0.02)
    assert found.correlation > 0.99
    assert found.runner_up < 0.6


def test_shift_beyond_half_the_patch_is_not_wrapped(field):
    moved = shifted(field, 44, -41)
    found = phase_shift(field[200:270, 200:270], moved[200:270, 200:270], max_shift_px=50)
    assert (found.dy_px, found.dx_px) == pytest.approx((44, -41), abs=0.05)


def test_search_is_centred_where_the_caller_expects_the_shift(field):
    moved = shifted(field, 3, 52)
    found = phase_shift(field[200:320, 200:284], moved[200:320, 200:284], max_shift_px=8, expected_px=(0, 48))
    assert (found.dy_px, found.dx_px) == pytest.approx((3, 52), abs=0.05)


def test_correlation_can_be_recomputed_from_the_patches(field):
    rng = np.random.default_rng(1)
    first, second = (field[a:a + 100, 200:300] + rng.normal(0, 60, (100, 100)).astype(np.float32) for a in (200, 210))
    found = phase_shift(first, second, max_shift_px=20)
    by_hand = pearson(flatten(first[10:]), flatten(second[:-10]))
    assert found.correlation == pytest.approx(by_hand, abs=0.03)
    assert 0.5 < by_hand < 0.95


def test_error_estimate_covers_the_true_error(field):
    rng = np.random.default_rng(2)
    ratios = []
    for k in range(12):
        moved = shifted(field, 0.37, -0.21)
        where = slice(50 * k, 50 * k + 90), slice(300, 390)
        first, second = (image[where] + rng.normal(0, 30, (90, 90)).astype(np.float32) for image in (field, moved))
        found = phase_shift(first, second, max_shift_px=10)
        ratios.append(np.hypot(found.dy_px - 0.37, found.dx_px + 0.21) / found.error_px)
    assert max(ratios) < 4
    assert np.median(ratios) > 0.2


def test_unrelated_and_uniform_patches_correlate_with_nothing(field):
    unrelated = phase_shift(field[:120, :120], field[400:520, 500:620], max_shift_px=20)
    uniform = phase_shift(field[:120, :120], np.full((120, 120), 7, np.float32), max_shift_px=20)
    assert unrelated.correlation < 0.4
    assert uniform.correlation == 0
    assert np.isfinite([uniform.dy_px, uniform.dx_px]).all()


def test_patches_of_different_shapes_are_refused(field):
    with pytest.raises(ValueError, match="one shape"):
        phase_shift(field[:50, :50], field[:50, :60], max_shift_px=5)


def test_neighbours_share_an_edge_or_a_corner():
    assert neighbour_pairs(grid(1, 3), TILE, 16) == [(0, 1), (1, 2)]
    assert neighbour_pairs(grid(2, 2), TILE, 16) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert neighbour_pairs(grid(2, 2), TILE, 26) == [(0, 1), (2, 3)]
    assert neighbour_pairs(grid(1, 1), TILE, 16) == []
    assert neighbour_pairs(grid(1, 3) * 5, TILE, 16) == []


def test_tiles_land_where_they_were_cut_from(field):
    nominal = grid(4, 5)
    scan = Scan(field, nominal + stage_errors(20))
    layout = solve_layout(nominal, scan.pairs(nominal))
    assert scan.errors_px(layout.positions_px).max() < 0.1
    assert layout.positions_px.min(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert layout.isolated == ()
    assert set(layout.component) == {0}
    assert layout.residual_px is not None
    assert layout.residual_px[0] < 0.1


def test_tiles_in_the_order_of_a_serpentine_or_shuffled_make_the_same_mosaic(field):
    nominal, errors = grid(3, 3), stage_errors(9)
    order = np.random.default_rng(0).permutation(9)
    shuffled = Scan(field, (nominal + errors)[order])
    layout = solve_layout(nominal[order], shuffled.pairs(nominal[order]))
    assert shuffled.errors_px(layout.positions_px).max() < 0.1


def test_each_tile_is_loaded_once_and_let_go(field):
    nominal = grid(6, 5)
    scan = Scan(field, nominal)
    survey_tiles(scan, nominal, TILE, max_shift_px=MAX_SHIFT_PX, workers=2)
    assert sorted(scan.loads) == list(range(30))
    assert scan.most_alive <= 5  # those that are loaded ahead


def test_blank_tiles_are_refused_with_a_reason_and_follow_the_stage(field):
    nominal = grid(4, 5)
    # The stage stands turned and scaled against the camera, so its bare word would be wrong.
    turn = np.array([[1.01, 0.02], [-0.02, 1.01]])
    scan = Scan(field, nominal @ turn.T + [0, 12] + stage_errors(20, 0.5), blank=[7, 19])
    layout = solve_layout(nominal, scan.pairs(nominal))
    assert layout.isolated == (7, 19)
    for pair in layout.pairs:
        blank = {7, 19} & {pair.first, pair.second}
        assert pair.accepted == (not blank)
        assert ("no texture" in pair.reason) == bool(blank)
    errors = scan.errors_px(layout.positions_px)
    assert np.delete(errors, [7, 19]).max() < 0.1
    assert errors[[7, 19]].max() < 2
    assert scan.errors_px(nominal)[[7, 19]].max() > 4


def test_hundreds_of_tiles_are_placed_as_well_as_a_few():
    nominal = grid(18, 20)
    true = nominal + stage_errors(len(nominal))
    layout = solve_layout(nominal, exact_pairs(true, nominal))
    difference = layout.positions_px - true
    assert np.abs(difference - difference.mean(axis=0)).max() < 0.01


def test_backlash_is_learnt_per_direction(field):
    nominal = grid(4, 5)
    direction = [row % 2 for row in range(4) for _ in range(5)]
    backlash = np.array([[0.0, 7.0 if leftwards else 0.0] for leftwards in direction])
    scan = Scan(field, nominal + backlash + stage_errors(20, 0.5), blank=[7, 11])
    pairs = scan.pairs(nominal)
    told = scan.errors_px(solve_layout(nominal, pairs, group=direction).positions_px)
    untold = scan.errors_px(solve_layout(nominal, pairs).positions_px)
    assert told[[7, 11]].max() < 1.5
    assert untold[[7, 11]].max() > 2.5
    assert np.delete(told, [7, 11]).max() < 0.1


def test_wrong_pairs_are_refused_where_neighbours_contradict_them():
    nominal = grid(6, 6)
    true = nominal + stage_errors(36)
    pairs = exact_pairs(true, nominal)
    wrong = np.random.default_rng(5).choice(len(pairs), 11, replace=False)
    for k in wrong:
        row, column = pairs[k].offset_px
        pairs[k] = replace(pairs[k], offset_px=(row + 14.0, column - 9.0))
    layout = solve_layout(nominal, pairs)
    assert {k for k, pair in enumerate(layout.pairs) if not pair.accepted} == set(wrong.tolist())
    assert "neighbours" in layout.pairs[wrong[0]].reason
    difference = layout.positions_px - true
    assert np.ptp(difference, axis=0).max() < 0.1


def test_a_lone_wrong_pair_is_refused_on_the_word_of_the_stage():
    nominal = grid(1, 8)
    true = nominal + stage_errors(8, 1.0)
    pairs = exact_pairs(true, nominal)
    pairs[3] = replace(pairs[3], offset_px=(pairs[3].offset_px[0] + 15, pairs[3].offset_px[1]))
    layout = solve_layout(nominal, pairs)
    assert [pair.accepted for pair in layout.pairs] == [True] * 3 + [False] + [True] * 3
    assert "stage" in layout.pairs[3].reason
    assert layout.component == (0, 0, 0, 0, 1, 1, 1, 1)
    assert np.ptp(layout.positions_px - true, axis=0).max() < 5


def test_a_tile_that_the_stage_misplaced_follows_its_neighbours_not_the_stage():
    nominal = grid(4, 4)
    true = nominal + stage_errors(16, 0.5)
    true[5] += 30
    layout = solve_layout(nominal, exact_pairs(true, nominal))
    assert all(pair.accepted for pair in layout.pairs)
    assert np.ptp(layout.positions_px - true, axis=0).max() < 0.1


def test_islands_are_told_apart_and_held_together_by_the_stage():
    nominal = grid(2, 6)
    true = nominal + stage_errors(12, 2.0)
    column = np.tile(np.arange(6), 2)
    pairs = [
        pair if (column[pair.first] < 3) == (column[pair.second] < 3)
        else replace(pair, accepted=False, reason="no texture") for pair in exact_pairs(true, nominal)
    ]
    layout = solve_layout(nominal, pairs)
    assert layout.isolated == ()
    assert [layout.component[k] for k in range(6)] == [0, 0, 0, 1, 1, 1]
    difference = layout.positions_px - true
    for island in (column < 3, column >= 3):
        assert np.ptp(difference[island], axis=0).max() < 0.1
    assert np.ptp(difference, axis=0).max() < 5


def test_only_tiles_tied_to_the_largest_group_are_called_linked():
    nominal = grid(1, 8)
    pairs = exact_pairs(nominal, nominal)
    # Tiles 0 to 3 hold together, 4 and 5 as well, 6 and 7 are on their own.
    pairs = [replace(pair, accepted=pair.first not in (3, 5, 6)) for pair in pairs]
    verdicts = tile_verdicts(solve_layout(nominal, pairs), blank={3, 6})
    assert [verdict.mark for verdict in verdicts] == ["linked"] * 4 + ["stage", "stage", "blank", "stage"]
    assert [verdict.links for verdict in verdicts] == [1, 2, 2, 1, 1, 1, 0, 0]
    assert [verdict.residual_px is None for verdict in verdicts] == [False] * 6 + [True] * 2


def test_blank_tiles_are_told_whatever_their_depth_and_shading(field):
    rng = np.random.default_rng(4)
    shading = np.linspace(200, 235, 144)[None, :] * np.ones((128, 1))
    for noise in (0.0, 0.5, 6.0):
        blank = shading + rng.normal(0, noise, shading.shape)
        speck = blank.copy()
        speck[60:70, 60:70] -= 40
        for kind, scale in ((np.uint8, 1), (np.uint16, 200), (np.float32, 1)):
            assert is_blank((blank * scale).astype(kind))
            assert not is_blank((speck * scale).astype(kind))
    assert not is_blank(field[:128, :144].astype(np.uint8))


def test_corners_are_measured_only_where_edges_do_not_tie_a_tile(field):
    nominal = grid(3, 3)

    def corners(pairs):
        return {(pair.first, pair.second) for pair in pairs if pair.second - pair.first in (2, 4)}

    assert corners(Scan(field, nominal).pairs(nominal)) == set()
    # With its neighbours blank, the corner tile has nothing but the corner to hold on to.
    lonely = Scan(field, nominal, blank=[1, 3]).pairs(nominal)
    assert (0, 4) in corners(lonely)
    assert solve_layout(nominal, lonely).isolated == (1, 3)


@pytest.mark.parametrize("shift", [(0.4, -0.3), (9.0, 6.5), (-11.3, -2.7)])
def test_the_quick_measurement_agrees_with_the_truth_and_says_when_it_can_not(field, shift):
    moved = shifted(field, *shift)
    found = quick_shift(field[200:280, 200:400], moved[200:280, 200:400], max_shift_px=16)
    assert found is not None
    assert (found.shift.dy_px, found.shift.dx_px) == pytest.approx(shift, abs=0.05)
    assert found.shift.runner_up < 0.6
    rng = np.random.default_rng(0)
    first, second = (rng.normal(240, 3, (80, 200)).astype(np.float32) for _ in range(2))
    empty = quick_shift(first, second, max_shift_px=16)
    assert empty is not None
    assert (empty.shift.error_px, empty.texture < 1.2) == (2.0, True)
    assert quick_shift(field[:20, :20], field[:20, :20], max_shift_px=4) is None


def test_a_single_row_and_a_single_tile(field):
    row = grid(1, 6)
    scan = Scan(field, row + stage_errors(6))
    assert scan.errors_px(solve_layout(row, scan.pairs(row)).positions_px).max() < 0.2
    alone = solve_layout(grid(1, 1) + 55, Scan(field, grid(1, 1)).pairs(grid(1, 1)))
    assert alone.positions_px.tolist() == [[0, 0]]
    assert (alone.isolated, alone.residual_px, alone.pairs) == ((0,), None, ())


def test_without_any_texture_the_stage_has_the_word(field):
    nominal = grid(3, 3)
    layout = solve_layout(nominal, Scan(field, nominal, blank=range(9)).pairs(nominal))
    assert layout.positions_px == pytest.approx(nominal, abs=1e-6)
    assert layout.isolated == tuple(range(9))


def test_uniform_tiles_without_noise_are_refused_quietly(field):
    nominal = grid(1, 2)
    pairs = Scan(field, nominal, blank=[0, 1], noise=0.0).pairs(nominal)
    assert not pairs[0].accepted
    assert "no texture" in pairs[0].reason


def test_repeating_content_is_refused_rather_than_guessed():
    rows, columns = np.mgrid[:600, :700]
    squares = 100 + 60 * np.sin(2 * np.pi * rows / 9) * np.sin(2 * np.pi * columns / 11)
    nominal = grid(2, 2)
    pairs = Scan(squares.astype(np.float32), nominal + stage_errors(4)).pairs(nominal)
    assert not any(pair.accepted for pair in pairs)
    assert any("ambiguous" in pair.reason for pair in pairs)


def test_a_shift_outside_the_search_is_not_accepted(field):
    nominal = grid(1, 2)
    pairs = Scan(field, nominal + np.array([[0, 0], [MAX_SHIFT_PX + 4, 0]])).pairs(nominal)
    assert not pairs[0].accepted


def test_tiles_of_another_shape_and_misfitting_labels_are_errors(field):
    nominal = grid(1, 2)
    with pytest.raises(InputImageError, match="tile 0"):
        measure_pairs(lambda _: np.zeros((10, 10), np.float32), nominal, TILE, max_shift_px=8)
    with pytest.raises(StitchingError, match="labels"):
        solve_layout(nominal, [], group=[0])
    with pytest.raises(StitchingError, match="0 tiles"):
        solve_layout(np.empty((0, 2)), [])
    with pytest.raises(StitchingError, match="outside"):
        solve_layout(nominal, [PairShift(0, 2, (0.0, 0.0), 1.0, 0.1, True, "")])


def test_a_listener_can_stop_the_measuring(field):
    nominal = grid(3, 3)
    scan = Scan(field, nominal)

    def stop(progress):
        if progress.done == 4:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        survey_tiles(scan, nominal, TILE, max_shift_px=8, on_progress=stop, workers=2)
    assert 4 <= len(scan.loads) < 9


def test_real_tissue_is_placed_to_a_tenth_of_a_pixel():
    slide = cv2.imread(str(needs(DATA / "wsi" / "cmu1_small_region.svs")), cv2.IMREAD_COLOR)
    tissue = slide[1500:2400, 700:1500, 1].astype(np.float32)
    nominal = grid(5, 5)
    scan = Scan(tissue, nominal + stage_errors(25))
    layout = solve_layout(nominal, scan.pairs(nominal))
    assert layout.isolated == ()
    assert scan.errors_px(layout.positions_px).max() < 0.1


def test_real_tiles_make_a_mosaic_of_the_reference_size():
    folder = needs(DATA / "stitch_arve0")
    tiles = [cv2.imread(str(folder / f"notebooks_r{r}-c{c}.png"), 0) for r in range(4) for c in range(3)]
    reference = cv2.imread(str(folder / "merged_reference.png"), 0)
    nominal = np.array([(r * 456.0, c * 456.0) for r in range(4) for c in range(3)])
    pairs = measure_pairs(lambda k: tiles[k].astype(np.float32), nominal, (512, 512), max_shift_px=30)
    layout = solve_layout(nominal, pairs)
    assert layout.isolated == ()
    assert set(layout.component) == {0}
    assert mosaic_shape(layout.positions_px, (512, 512)) == pytest.approx(reference.shape, abs=4)
    # The instrument's distortion moves the overlaps by up to 2 px against each other; the residual says so.
    assert layout.residual_px is not None
    assert 0.1 < layout.residual_px[0] < 1.5
