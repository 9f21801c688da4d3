"""The twin's benchtop shows what lies under its true position, as sharp as aperture and focus allow."""

from __future__ import annotations

import numpy as np
import pytest
from usaf_contrast import bar_contrast, gaussian_contrast

from mobilescope.core.errors import ConfigError, LimitError
from mobilescope.imaging.colour import decode_8bit
from mobilescope.twin.specimens import UsafTarget

PIXEL_UM = 0.37
EXACT = {"backlash_um": 0, "repeatability_um": 0, "z_repeatability_um": 0}
FLAT = {"tilt_um_per_mm": 0, "waviness_um": 0, "wavelength_mm": 1}


def element_contrast(image, truth, element):
    """Contrast of an element's upright bars in the green light of a frame, at the place where they truly lie."""
    rows, columns = image.pixels.shape[:2]
    light = decode_8bit(image.pixels)[..., 1]

    def column(x_um):
        return (x_um - truth.x_um) / PIXEL_UM + (columns - 1) / 2

    row = (element.y_um - truth.y_um) / PIXEL_UM + (rows - 1) / 2
    half = int(element.bar_width_um / PIXEL_UM * 1.8)
    profile = light[int(row) - half : int(row) + half + 1].mean(axis=0)
    return bar_contrast(profile, [column(bar.centre_um[0]) for bar in element.bars()])


@pytest.fixture
def look(make_twin):
    """Picture an element of the target in the middle of the field and return its contrast."""

    def contrast(group, element, *, defocus_um=0.0, **benchtop):
        twin = make_twin({"usaf": "usaf"}, frame_px=128, benchtop=benchtop)
        bars = UsafTarget().element(group, element, "y")
        twin.focus_on("usaf", bars.x_um, bars.y_um)
        twin.benchtop.stage.move_z(twin.stage.position().z_um + defocus_um)
        image = twin.benchtop.snap()
        return element_contrast(image, twin.truth.tiles[-1], bars)

    return contrast


def test_contrast_falls_with_defocus_on_both_sides(look):
    above = [look(8, 1, defocus_um=z) for z in (0, 1.5, 3, 5)]
    below = [look(8, 1, defocus_um=-z) for z in (0, 1.5, 3, 5)]
    for contrasts in (above, below):
        assert contrasts == sorted(contrasts, reverse=True)
        assert contrasts[0] > 0.75
        assert contrasts[-1] < 0.1


def test_contrast_in_focus_falls_with_a_smaller_aperture(look):
    contrasts = [look(9, 1, numerical_aperture=na) for na in (0.75, 0.5, 0.3, 0.2)]
    assert contrasts == sorted(contrasts, reverse=True)
    # Bars of 0.98 µm: clear at 0.75, lost at 0.2, where a Gaussian Airy disc is as wide as a bar.
    assert contrasts[0] > 0.6
    assert contrasts[-1] < 0.25


@pytest.mark.parametrize(("aperture", "defocus_um"), [(0.75, 0.0), (0.4, 0.0), (0.3, 0.0), (0.4, 4.0)])
def test_contrast_is_that_of_aperture_and_defocus(look, aperture, defocus_um):
    # Airy disc 0.21 λ/NA in green, the cone of light at this defocus, and the camera's square pixels.
    cone = defocus_um * np.tan(np.arcsin(aperture)) / 2
    sigma = np.sqrt((0.21 * 0.54 / aperture) ** 2 + cone**2 + PIXEL_UM**2 / 12)
    measured = look(8, 2, defocus_um=defocus_um, numerical_aperture=aperture)
    assert measured == pytest.approx(gaussian_contrast(UsafTarget().element(8, 2, "y").bar_width_um, sigma), abs=0.05)


def test_a_smaller_aperture_is_deeper_in_focus(look):
    wide, narrow = (look(7, 3, defocus_um=8.0, numerical_aperture=na) for na in (0.75, 0.2))
    assert narrow > wide + 0.3


def test_finer_elements_have_less_contrast(look):
    contrasts = [look(group, element) for group, element in ((7, 1), (8, 1), (9, 1), (9, 4))]
    assert contrasts == sorted(contrasts, reverse=True)


def test_a_feature_appears_where_the_truth_says(make_twin):
    twin = make_twin({"usaf": "usaf"}, frame_px=256, seed=8)
    bars = UsafTarget().element(6, 1, "x")
    for offset in ((0.0, 0.0), (11.3, -7.7), (-20.1, 15.2)):
        twin.focus_on("usaf", bars.x_um + offset[0], bars.y_um + offset[1])
        image = twin.benchtop.snap()
        truth = twin.truth.tiles[-1]
        dark = 1 - decode_8bit(image.pixels)[..., 1] / 0.88
        place = np.arange(256) - 127.5
        inside = [
            np.abs(axis * PIXEL_UM + at - bar) < 4 * bars.bar_width_um
            for axis, at, bar in ((place, truth.x_um, bars.x_um), (place, truth.y_um, bars.y_um))
        ]
        cut = np.where(dark > 0.1, dark, 0) * inside[0][None, :] * inside[1][:, None]
        found = np.array([cut.sum(axis=0) @ place, cut.sum(axis=1) @ place]) / cut.sum()
        expected = (np.array([bars.x_um, bars.y_um]) - [truth.x_um, truth.y_um]) / PIXEL_UM
        np.testing.assert_allclose(found, expected, atol=0.15)


def test_the_true_position_errs_from_the_reported_one_but_not_by_much(make_twin):
    twin = make_twin()
    errors = []
    for x_um in range(0, 4000, 100):
        twin.benchtop.stage.move_xy(x_um, 0.0)
        twin.benchtop.snap(roi_px=16)
        errors.append(twin.truth.tiles[-1].x_um - twin.benchtop.stage.position().x_um)
    # Always coming from the left, the stage stops half its play short, give or take its repeatability.
    assert np.mean(errors[1:]) == pytest.approx(-0.6, abs=0.3)
    assert np.std(errors[1:]) == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize("axis", [0, 1])
def test_backlash_drags_behind_the_direction_of_travel(make_twin, axis):
    twin = make_twin(stage={"backlash_um": 2.0, "repeatability_um": 0})
    stage = twin.benchtop.stage

    def error_at(value_um):
        stage.move_xy(*((value_um, 5.0) if axis == 0 else (5.0, value_um)))
        true, reported = stage.true_position(), stage.position()
        return (true.x_um - reported.x_um, true.y_um - reported.y_um)[axis]

    stage.move_xy(1.0, 1.0)
    assert [error_at(value) for value in (100, 200, 150, 150, 0, 300)] == pytest.approx([-1, -1, 1, 1, 1, -1])


def test_the_focus_drive_has_its_own_error(make_twin):
    twin = make_twin(stage=EXACT | {"z_repeatability_um": 0.2})
    errors = []
    for z_um in np.linspace(-20, 20, 200):
        twin.benchtop.stage.move_z(float(z_um))
        errors.append(twin.benchtop.stage.true_position().z_um - z_um)
    assert np.std(errors) == pytest.approx(0.2, abs=0.04)
    assert twin.benchtop.stage.true_position().x_um == 0


def test_the_specimen_stays_behind_by_half_the_focus_drive_s_play(make_twin):
    stage = make_twin(stage=EXACT | {"z_backlash_um": 2.0}).benchtop.stage

    def behind_at(z_um):
        stage.move_z(z_um)
        return stage.true_position().z_um - z_um

    assert [behind_at(z) for z in (5, 10, 9.5, 7, 7, 8, 12)] == pytest.approx([-1, -1, -0.5, 1, 1, 0, -1])


def test_half_the_exposure_gives_half_the_light(make_twin):
    scope = make_twin(frame_px=64, benchtop={"lamp": [0.8, 0.6, 0.4]}).benchtop
    whole = decode_8bit(scope.snap().pixels).mean(axis=(0, 1))
    scope.expose(scope.exposure_ms / 2)
    assert decode_8bit(scope.snap().pixels).mean(axis=(0, 1)) == pytest.approx(whole / 2, rel=0.02)


def test_the_truth_tells_the_distance_from_the_surface(make_twin):
    twin = make_twin({"a": "blood"}, stage=EXACT)
    twin.focus_on("a", 400.0, -300.0, defocus_um=2.5)
    twin.benchtop.snap(roi_px=32)
    twin.benchtop.snap()
    small, whole = twin.truth.tiles
    assert (small.slide, small.x_um, small.y_um) == ("a", 400, -300)
    assert small.defocus_um == pytest.approx(2.5)
    assert (small.whole, whole.whole) == (False, True)


def test_a_region_of_interest_is_the_middle_of_the_frame(make_twin):
    twin = make_twin({"a": "blood"}, stage=EXACT, surface=FLAT, benchtop={"read_noise_electrons": 0})
    twin.focus_on("a", 50.0, 80.0)
    whole, part = twin.benchtop.snap().pixels, twin.benchtop.snap(roi_px=128).pixels
    assert part.shape == (128, 128, 3)
    middle = whole[192:320, 192:320]
    # The same picture up to its photon noise.
    assert np.abs(part.astype(int) - middle).mean() < 1.5
    assert np.corrcoef(part.ravel(), middle.ravel())[0, 1] > 0.99
    assert twin.benchtop.snap(roi_px=4000).pixels.shape == whole.shape


def test_clear_glass_shows_lamp_and_vignette(make_twin):
    twin = make_twin(benchtop={"lamp": [0.8, 0.6, 0.4], "vignetting": 0.1})
    light = np.mean([decode_8bit(twin.benchtop.snap().pixels) for _ in range(4)], axis=0)
    np.testing.assert_allclose(light[240:272, 240:272].mean(axis=(0, 1)), [0.8, 0.6, 0.4], rtol=0.01)
    corners = np.mean([light[:8, :8], light[:8, -8:], light[-8:, :8], light[-8:, -8:]], axis=(0, 1, 2))
    np.testing.assert_allclose(corners, [0.72, 0.54, 0.36], rtol=0.02)


def test_a_frame_carries_what_is_needed_to_place_it(make_twin):
    twin = make_twin(frame_px=96)
    twin.benchtop.stage.move_xy(12.0, -34.0)
    twin.benchtop.stage.move_z(5.0)
    image = twin.benchtop.snap()
    at = image.position
    assert (at.x_um, at.y_um, at.z_um) == (12, -34, 5)
    assert (image.pixel_size_um, image.exposure_ms) == (0.37, 4.0)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape == (*twin.benchtop.frame_shape, 3) == (96, 96, 3)
    assert image.light.on
    assert "software stage" in image.device


def test_the_same_seed_gives_the_same_frames(make_twin):
    def frames(seed):
        twin = make_twin({"a": "blood"}, seed=seed, frame_px=96)
        twin.benchtop.mount("a")
        pictures = []
        for x_um in (100.0, 300.0):
            twin.benchtop.stage.move_xy(x_um, 0.0)
            pictures.append(twin.benchtop.snap().pixels)
        return np.array(pictures)

    np.testing.assert_array_equal(frames(4), frames(4))
    assert (frames(4) != frames(5)).any()


def test_two_slides_of_one_kind_have_surfaces_of_their_own(make_twin):
    twin = make_twin({"a": "blood", "b": "blood"})
    assert twin.surface_um("a", 0, 0) != twin.surface_um("b", 0, 0)


def test_an_unknown_slide_brings_the_known_ones(make_twin):
    twin = make_twin({"a": "blood"})
    with pytest.raises(ConfigError, match=r"'z'.*a, blank"):
        twin.benchtop.mount("z")


def test_a_refused_move_changes_nothing(make_twin):
    twin = make_twin()
    stage = twin.benchtop.stage
    stage.move_xy(10.0, 20.0)
    before = stage.true_position()
    with pytest.raises(LimitError):
        stage.move_xy(40_000.0, 0.0)
    with pytest.raises(LimitError):
        stage.move_z(400.0)
    assert stage.true_position() == before
