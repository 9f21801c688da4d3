"""The twin's phone blurs, bends, colours and drifts as its parameters say, and its truth log tells how."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from usaf_contrast import bar_contrast, gaussian_contrast

from mobilescope.core.errors import ConfigError
from mobilescope.imaging.raw import develop_half_size, develop_srgb
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.specimens import UsafTarget
from mobilescope.twin.table import TwinTable

STEADY = {"focus_error_um": 0, "position_error_um": 0, "rotation_deg": 0, "colour_drift": 0, "exposure_drift": 0}
STRAIGHT = {"barrel": 0, "warp_um": 0, "magnification_error": 0, "lateral_colour_um": [0, 0, 0]}
SMALL = {"bayer_rows": 160, "bayer_columns": 192}
PHONE = load_parameters().phone


def develop(capture, function=develop_srgb):
    return function(
        capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
        white_balance=capture.white_balance,
    )


def lit(twin, slide=None, colour=(255, 255, 255)):
    twin.phone.illuminator.set_colour(*colour)
    if slide:
        twin.phone.mount(slide)
    return twin.phone


def green_contrast(twin, group, element):
    """Contrast of an element's upright bars in the green pixels of the raw frame, at the middle of the field."""
    bars = UsafTarget().element(group, element, "y")
    phone = lit(twin, "usaf")
    capture = phone.capture(bars.x_um, bars.y_um)
    # Every second row begins with a green pixel, and ends with one, in turn: both together fill each column.
    counts = capture.bayer.astype(float) - capture.black_level
    rows, columns = counts.shape
    half = 2 * round(bars.bar_width_um * 1.6 / capture.bayer_pixel_um / 2)
    strip = counts[rows // 2 - half : rows // 2 + half]
    profile = np.empty(columns)
    profile[1::2], profile[0::2] = strip[0::2, 1::2].mean(axis=0), strip[1::2, 0::2].mean(axis=0)
    centres = [
        (bar.centre_um[0] - bars.x_um) / capture.bayer_pixel_um + (columns - 1) / 2 for bar in bars.bars()
    ]
    return bar_contrast(profile, centres)


@pytest.fixture
def fine_twin(make_twin):
    """A phone without errors, sampled finely enough to show more than it resolves."""
    return make_twin({"usaf": "usaf"}, phone=STEADY | STRAIGHT | SMALL | {"bayer_pixel_um": 0.15, "stray_light": 0.0})


def test_bars_at_the_half_pitch_keep_about_the_stated_contrast(fine_twin):
    assert UsafTarget().element(9, 2, "y").bar_width_um == pytest.approx(0.87, abs=0.001)
    # Three bars of a square wave, not a sine of infinite length, hence "about".
    assert green_contrast(fine_twin, 9, 2) == pytest.approx(0.10, abs=0.05)


def test_finer_bars_have_less_contrast_and_coarser_more(fine_twin):
    elements = ((7, 1), (8, 1), (8, 4), (9, 1), (9, 2), (9, 4), (9, 6))
    contrasts = [green_contrast(fine_twin, *which) for which in elements]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[0] > 0.9
    assert contrasts[-2] < 0.05
    assert contrasts[-1] < 0.02


@pytest.mark.parametrize("which", [(8, 1), (8, 3), (8, 5), (9, 1)])
def test_contrast_is_that_of_the_stated_blur(fine_twin, which):
    # A Gaussian that leaves 10 % of a sine of period 2 · 0.87 µm: exp(-2 π² σ² / period²) = 0.1.
    sigma = 2 * 0.87 * np.sqrt(np.log(10) / (2 * np.pi**2))
    expected = gaussian_contrast(UsafTarget().element(*which, "y").bar_width_um, sigma)
    assert green_contrast(fine_twin, *which) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("veil", [0.08, 0.3])
def test_stray_light_takes_contrast_away(make_twin, veil):
    twin = make_twin({"usaf": "usaf"}, phone=STEADY | STRAIGHT | SMALL | {"bayer_pixel_um": 0.15, "stray_light": veil})
    sigma = 2 * 0.87 * np.sqrt(np.log(10) / (2 * np.pi**2))
    expected = gaussian_contrast(UsafTarget().element(7, 1, "y").bar_width_um, sigma, veil=veil)
    assert green_contrast(twin, 7, 1) == pytest.approx(expected, abs=0.05)


def test_a_focus_error_takes_contrast_away(make_twin):
    fine = STEADY | STRAIGHT | SMALL | {"bayer_pixel_um": 0.15}
    sharp, blurred = (
        green_contrast(make_twin({"usaf": "usaf"}, seed=2, phone=fine | {"focus_error_um": error}), 8, 1)
        for error in (0, 30)
    )
    assert blurred < sharp - 0.1


def test_defocus_on_purpose_blurs_and_is_added_to_the_drawn_error(make_twin):
    fine = STEADY | STRAIGHT | SMALL | {"bayer_pixel_um": 0.15, "focus_error_um": 1.0}
    contrasts = []
    for defocus_um in (0.0, 30.0):
        twin = make_twin({"usaf": "usaf"}, seed=2, phone=fine)
        twin.phone.defocus_um = defocus_um
        contrasts.append(green_contrast(twin, 8, 1))
        drawn = twin.truth.captures[0].defocus_um - defocus_um
        assert 0 < abs(drawn) < 4
    assert contrasts[1] < contrasts[0] - 0.1


def test_without_light_the_frame_is_black(make_twin):
    twin = make_twin({"a": "blood"}, phone=SMALL)
    for phone in (twin.phone, lit(twin, "a", (0, 0, 0))):
        counts = phone.capture(0.0, 0.0).bayer.astype(float) - 64
        # Nothing but read noise, on the scale of counts between black and white level.
        assert counts.mean() == pytest.approx(0, abs=0.05)
        assert counts.std() == pytest.approx(PHONE.read_noise_electrons / PHONE.full_well_electrons * 959, rel=0.1)


def test_switching_the_light_off_is_seen(make_twin):
    twin = make_twin({"a": "blood"}, phone=SMALL)
    phone = lit(twin, "a")
    assert phone.capture(0.0, 0.0).bayer.mean() > 200
    phone.illuminator.off()
    dark = phone.capture(0.0, 0.0)
    assert dark.bayer.mean() < 65
    assert not dark.light.on


def test_the_colour_of_the_ring_colours_the_picture(make_twin):
    twin = make_twin(phone=SMALL | STEADY)
    pictures = {
        name: develop(lit(twin, colour=colour).capture(0, 0), develop_half_size).mean(axis=(0, 1))
        for name, colour in {"white": (255, 255, 255), "red": (255, 0, 0), "blue": (0, 0, 255)}.items()
    }
    assert pictures["red"].argmax() == 0
    assert pictures["blue"].argmax() == 2
    assert (pictures["white"] > pictures["red"]).all()
    twin.phone.illuminator.set_colour(255, 255, 255, 0.5)
    half = develop(twin.phone.capture(0, 0), develop_half_size).mean(axis=(0, 1))
    np.testing.assert_allclose(half, pictures["white"] / 2, rtol=0.02)


def test_exposure_and_colour_drift_from_capture_to_capture(make_twin):
    twin = make_twin(phone=SMALL | {"colour_drift": 0.03, "exposure_drift": 0.04})
    phone = lit(twin)
    means = np.array([develop(phone.capture(0, 0), develop_half_size).mean(axis=(0, 1)) for _ in range(25)])
    relative = np.log(means / means.mean(axis=0))
    assert relative.std(axis=0).mean() == pytest.approx(0.05, abs=0.02)
    colour = relative - relative.mean(axis=1, keepdims=True)
    assert colour.std() == pytest.approx(0.03 * np.sqrt(2 / 3), abs=0.01)


def test_without_drift_only_noise_changes(make_twin):
    twin = make_twin({"a": "blood"}, phone=SMALL | STEADY)
    phone = lit(twin, "a")
    first, second = (phone.capture(0, 0).bayer.astype(float) for _ in range(2))
    assert (first != second).any()
    signal = (first.mean() - PHONE.black_level) / 959
    shot_noise = np.sqrt(signal / PHONE.full_well_electrons) * 959
    assert np.abs(first - second).mean() == pytest.approx(2 / np.sqrt(np.pi) * shot_noise, rel=0.1)
    assert first.mean() == pytest.approx(second.mean(), rel=0.002)


def test_positions_and_mountings_err(make_twin):
    twin = make_twin(phone=SMALL)
    centres, turns = [], []
    for _ in range(40):
        twin.phone.mount("blank")
        twin.phone.capture(100.0, -50.0)
        at = twin.truth.captures[-1].positions_um
        centres.append(at[39:41, 47:49].mean(axis=(0, 1)))
        along = at[40, -1] - at[40, 0]
        turns.append(np.degrees(np.arctan2(along[1], along[0])))
    np.testing.assert_allclose(np.mean(centres, axis=0), [100, -50], atol=3.5)
    np.testing.assert_allclose(np.std(centres, axis=0), 6, atol=2)
    assert np.std(turns) == pytest.approx(2, abs=0.6)


def test_the_rotation_holds_for_a_whole_mounting(make_twin):
    twin = make_twin(phone=SMALL)
    twin.phone.mount("blank")
    for x_um in (0.0, 500.0):
        twin.phone.capture(x_um, 0.0)
    first, second = (truth.positions_um - truth.positions_um[0, 0] for truth in twin.truth.captures)
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_features_appear_where_the_truth_says(make_twin):
    """The bars of elements all over the field are found at the pixels whose logged positions they cover."""
    twin = make_twin({"usaf": "usaf"}, seed=6)
    phone = lit(twin, "usaf")
    errors = []
    for x_um, y_um in ((0.0, 0.0), (-30.0, 25.0), (150.0, 100.0)):
        picture = develop(phone.capture(x_um, y_um), develop_half_size)[..., 1]
        at = twin.truth.captures[-1].positions_um
        dark = np.clip(1 - picture / np.quantile(picture, 0.98), 0, None)
        for element in UsafTarget().elements:
            if not 2.5 <= element.bar_width_um <= 8:
                continue
            bars = element.bars()[1]
            reach = bars.grown(element.bar_width_um * 0.95)
            inside = (
                (at[..., 0] > reach.x_um) & (at[..., 0] < reach.right_um)
                & (at[..., 1] > reach.y_um) & (at[..., 1] < reach.bottom_um)
            )
            touching = inside[[0, -1]].any() or inside[:, [0, -1]].any()
            if touching or inside.sum() < 30:
                continue
            weight = dark**2 * inside
            across = 0 if element.bars_along == "y" else 1
            found = (weight * at[..., across]).sum() / weight.sum()
            errors.append(found - (element.x_um, element.y_um)[across])
    assert len(errors) > 20
    # In developed pixels of 0.925 µm.
    assert np.abs(errors).max() < 0.3 * 0.925
    assert abs(np.mean(errors)) < 0.1 * 0.925


@pytest.mark.parametrize("specimen", ["blank", "blood"])
def test_counts_stay_below_the_white_level(make_twin, specimen):
    twin = make_twin({"a": specimen}, phone=SMALL | {"exposure": [3.0, 1.05, 0.9]})
    bayer = lit(twin, "a").capture(0, 0).bayer
    assert bayer.max() == 1023
    assert bayer.dtype == np.uint16


def test_the_jpeg_has_the_size_of_the_frame_and_its_colours(make_twin):
    twin = make_twin({"a": "h&e"}, phone=SMALL)
    capture = lit(twin, "a").capture(0, 0)
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(capture.jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert picture.shape == (*capture.bayer.shape, 3)
    assert capture.bayer.shape == twin.phone.frame_shape == (160, 192)
    small = cv2.resize(picture, (96, 80), interpolation=cv2.INTER_AREA).astype(float)
    developed = develop(capture).astype(float)
    for channel in range(3):
        assert np.corrcoef(small[..., channel].ravel(), developed[..., channel].ravel())[0, 1] > 0.85
    red = lit(twin, "blank", (255, 0, 0)).capture(0, 0).jpeg
    assert cv2.imdecode(np.frombuffer(red, np.uint8), cv2.IMREAD_COLOR).mean(axis=(0, 1)).argmax() == 2


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_every_order_of_colours_develops_to_the_same_picture(make_twin, cfa):
    pictures = []
    for order in (cfa, "RGGB"):
        twin = make_twin({"a": "h&e"}, phone=SMALL | STEADY | {"cfa": order, "full_well_electrons": 1e6})
        capture = lit(twin, "a").capture(0, 0)
        assert capture.cfa == order
        picture = cv2.imdecode(np.frombuffer(capture.jpeg, np.uint8), cv2.IMREAD_COLOR)
        pictures.append((develop(capture, develop_half_size), cv2.GaussianBlur(picture, (0, 0), 2).astype(float)))
    (found, jpeg), (expected, expected_jpeg) = pictures
    # The colours are sampled up to a pixel apart, so edges differ a little.
    np.testing.assert_allclose(found.mean(axis=(0, 1)), expected.mean(axis=(0, 1)), rtol=0.01)
    assert np.abs(found - expected).mean() < 0.03
    assert np.abs(jpeg - expected_jpeg).mean() < 6


def test_a_capture_records_how_it_was_taken(make_twin):
    twin = make_twin(phone=SMALL)
    capture = lit(twin, colour=(10, 20, 30)).capture(7.0, -8.0)
    assert (capture.nominal.x_um, capture.nominal.y_um) == (7, -8)
    assert (capture.light.red, capture.light.green, capture.light.blue) == (10, 20, 30)
    assert (capture.black_level, capture.white_level, capture.bayer_pixel_um) == (64, 1023, 0.4625)
    assert capture.white_balance == (1.10, 0.80, 1.35)
    assert twin.phone.field_of_view_um == pytest.approx((192 * 0.4625, 160 * 0.4625))


def test_the_same_seed_gives_the_same_captures(make_twin):
    def captures(seed):
        twin = make_twin({"a": "blood"}, seed=seed, phone=SMALL)
        phone = lit(twin, "a")
        return [phone.capture(x_um, 0.0) for x_um in (0.0, 100.0)]

    for first, again in zip(captures(3), captures(3), strict=True):
        np.testing.assert_array_equal(first.bayer, again.bayer)
        assert first.jpeg == again.jpeg
    assert (captures(3)[0].bayer != captures(4)[0].bayer).any()


def test_the_preset_r18_samples_as_the_paper_did(make_twin):
    full = load_parameters(preset="r18").phone
    assert (full.bayer_rows, full.bayer_columns) == (4096, 4096)
    assert 2 * full.bayer_pixel_um == pytest.approx(0.404)
    twin = make_twin({"a": "blood"}, preset="r18", phone=SMALL | STEADY | STRAIGHT)
    assert develop(lit(twin, "a").capture(0, 0)).shape == (80, 96, 3)
    at = twin.truth.captures[-1].positions_um
    np.testing.assert_allclose(np.diff(at[..., 0], axis=1), 0.404, atol=1e-3)
    np.testing.assert_allclose(np.diff(at[..., 1], axis=0), 0.404, atol=1e-3)


def test_the_default_develops_to_two_and_a_half_benchtop_pixels():
    assert 2 * load_parameters().phone.bayer_pixel_um == pytest.approx(2.5 * 0.37)


def test_a_table_lies_over_the_preset_and_the_preset_over_the_defaults():
    phone = load_parameters({"phone": {"bayer_rows": 256}}, preset="r18").phone
    assert (phone.bayer_rows, phone.bayer_columns, phone.bayer_pixel_um) == (256, 4096, 0.202)
    assert phone.half_pitch_um == load_parameters().phone.half_pitch_um == 0.87


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"phone": {"barell": 0.1}}, "twin.phone.barell"),
        ({"benchtop": {"na": 0.5}}, "twin.benchtop.na"),
        ({"stage": {"backlash": 0.5}}, "twin.stage.backlash"),
        ({"surface": {"tilt": 0.5}}, "twin.surface.tilt"),
    ],
)
def test_an_unknown_parameter_is_named(tables, key):
    with pytest.raises(ConfigError, match=rf"scope\.toml.*'{key}'"):
        TwinTable(**tables).parameters(preset="default", source="scope.toml")


def test_an_unknown_preset_brings_the_known_ones():
    with pytest.raises(ConfigError, match=r"scope\.toml.*phone\.preset.*'r19'.*r18"):
        load_parameters(preset="r19", source="scope.toml")


def test_the_focus_can_be_set_away_on_purpose(make_twin):
    pictures = []
    for defocus_um in (0.0, 8.0, -8.0):
        twin = make_twin({"slide": "blood"}, phone=STEADY | STRAIGHT | SMALL)
        phone = lit(twin, "slide")
        phone.defocus_um = defocus_um
        pictures.append(develop(phone.capture(0, 0)).astype(float))
        assert twin.truth.captures[-1].defocus_um == defocus_um
    sharp, above, below = (np.abs(cv2.Laplacian(picture[..., 1], cv2.CV_64F)).mean() for picture in pictures)
    assert max(above, below) < 0.9 * sharp


@pytest.mark.parametrize(("pictures", "raw", "jpeg"), [("dng+jpeg", True, True), ("dng", True, False),
                                                       ("jpeg", False, True)])
def test_it_gives_what_its_camera_app_is_set_to(make_twin, pictures, raw, jpeg):
    twin = make_twin()
    phone = TwinPhone(
        twin.rack, load_parameters({"phone": {"bayer_rows": 64, "bayer_columns": 64}}), seed=1, truth=twin.truth,
        illuminator=twin.phone.illuminator, pictures=pictures,
    )
    capture = phone.capture(0.0, 0.0)
    assert (capture.bayer is not None, bool(capture.cfa), bool(capture.jpeg)) == (raw, raw, jpeg)
    assert (capture.black_level, capture.white_level) == ((64, 1023) if raw else (0, 255))
