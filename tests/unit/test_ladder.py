"""The quality ladder enhances on the rung that it names, and its lowest rung has the network's colours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.core.errors import UserError
from mobilescope.enhance.colour_rung import BicubicColour, ColourFit
from mobilescope.enhance.ladder import Ladder
from mobilescope.enhance.live_values import Region
from mobilescope.enhance.rung_controller import Rung

FACTOR = 2.5
MATRIX = np.array([[0.9, 0.1, -0.05, 0.08], [0.0, 1.1, -0.1, 0.02], [0.05, -0.2, 0.95, 0.15]])


class Network:
    """Stands for a trained network: bicubic, in other colours, and it remembers what it was shown."""

    def __init__(self, brightness=0.0):
        self.shown, self._brightness = [], brightness

    def __call__(self, picture):
        self.shown.append(picture.shape[:2])
        rows, columns = (int(np.ceil(size * FACTOR)) for size in picture.shape[:2])
        enlarged = cv2.resize(picture.astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_CUBIC)
        coloured = enlarged @ MATRIX[:, :3].T + MATRIX[:, 3] + self._brightness
        return np.clip(np.round(coloured * 255), 0, 255).astype(np.uint8)


def picture(rows=60, columns=80, seed=0):
    noise = np.random.default_rng(seed).uniform(60, 190, (rows // 4, columns // 4, 3)).astype(np.float32)
    return cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def ladder(rung=None, **options):
    return Ladder(Network(), factor=FACTOR, frames_per_s=options.pop("fps", 0.001), rung=rung, **options)


def test_the_full_rung_is_the_networks_own_picture():
    shown = picture()
    enhanced = ladder(Rung.FULL)(shown)
    np.testing.assert_array_equal(enhanced.pixels, Network()(shown))
    assert (enhanced.method, enhanced.region) == ("full", Region(0, 0, 60, 80))


def test_the_region_rung_enhances_the_region_alone():
    shown, region = picture(), Region(10, 20, 30, 40)
    enhanced = ladder(Rung.REGION, region=region)(shown)
    np.testing.assert_array_equal(enhanced.pixels, Network()(shown[10:40, 20:60]))
    assert (enhanced.method, enhanced.region) == ("region", region)


def test_the_region_rung_is_given_what_surrounds_the_region():
    shown, region, asked = picture(), Region(10, 20, 30, 40), []

    def part(whole, looked_at):
        asked.append((whole.shape, looked_at))
        return Network()(looked_at.of(whole))

    ladder(Rung.REGION, region=region, part=part)(shown)
    assert asked == [(shown.shape, region)]


def test_the_region_rung_looks_at_the_middle_where_no_region_was_chosen():
    enhanced = ladder(Rung.REGION)(picture())
    assert enhanced.region == Region(15, 20, 30, 40)
    assert enhanced.pixels.shape == (75, 100, 3)


def test_the_distilled_rung_is_the_small_networks_picture():
    small = Network(brightness=0.1)
    enhanced = ladder(Rung.DISTILLED, distilled=small)(picture())
    np.testing.assert_array_equal(enhanced.pixels, small(picture()))


def test_a_small_network_that_is_not_there_cant_be_asked_for():
    with pytest.raises(UserError, match="--fast-model"):
        ladder(Rung.DISTILLED)


def test_the_colour_rung_learns_the_networks_colours_from_the_first_frames():
    shown = picture(seed=5)
    stays = ladder(Rung.COLOUR)
    enhanced = stays(shown)
    difference = enhanced.pixels.astype(int) - Network()(shown).astype(int)
    assert np.abs(difference).mean() < 1.5
    bicubic = cv2.resize(shown, (200, 150), interpolation=cv2.INTER_CUBIC)
    assert np.abs(bicubic.astype(int) - Network()(shown).astype(int)).mean() > 10


def test_the_network_runs_on_small_crops_of_the_first_frames_only():
    network = Network()
    stays = Ladder(network, factor=FACTOR, frames_per_s=1, rung=Rung.COLOUR)
    for number in range(20):
        stays(picture(400, 600, seed=number))
    assert 1 <= len(network.shown) <= 4
    assert set(network.shown) == {(160, 160)}


@pytest.mark.parametrize("shape", [(61, 33), (1, 1), (2, 5)])
def test_the_colour_rung_gives_the_networks_size_for_odd_pictures(shape):
    shown = np.full((*shape, 3), 90, np.uint8)
    assert ladder(Rung.COLOUR)(shown).pixels.shape == Network()(shown).shape


def test_colours_that_were_not_seen_are_left_nearly_alone():
    fit = ColourFit()
    grey = np.full((50, 3), 0.7)
    fit.add(grey, grey + np.array([0.1, 0.0, -0.1]))
    matrix = fit.matrix()
    np.testing.assert_allclose(grey[0] @ matrix[:, :3].T + matrix[:, 3], [0.8, 0.7, 0.6], atol=0.03)
    dark = np.array([0.2, 0.3, 0.2])
    np.testing.assert_allclose(dark @ matrix[:, :3].T + matrix[:, 3], dark, atol=0.12)


def test_before_its_first_lesson_the_colour_rung_changes_no_colour():
    flat = np.full((4, 4, 3), (10, 120, 250), np.uint8)
    np.testing.assert_array_equal(BicubicColour(FACTOR)(flat), np.full((10, 10, 3), (10, 120, 250), np.uint8))


def test_left_to_itself_it_stays_on_the_full_network_while_that_is_quick_enough():
    alone = ladder(fps=0.01)
    for number in range(8):
        assert alone(picture(seed=number)).method == "full"
    status = alone.status()
    assert (status.rung, status.asked_for) == (Rung.FULL, None)
    assert status.available == (Rung.FULL, Rung.COLOUR)
    assert status.took_ms[Rung.FULL] > 0


def test_left_to_itself_it_comes_down_and_says_so():
    told = []
    alone = ladder(fps=1e6, distilled=Network(), region=Region(0, 0, 8, 8), on_change=told.append)
    for number in range(30):
        alone(picture(seed=number))
    status = alone.status()
    assert status.rung is Rung.COLOUR
    assert [change.after for change in told] == [Rung.REGION, Rung.DISTILLED, Rung.COLOUR]
    assert "no rung holds 1e+06 frames/s" in status.reason
    assert set(status.took_ms) == set(Rung)


def test_what_was_asked_for_is_known_before_the_first_frame():
    status = ladder(Rung.REGION, region=Region(0, 0, 8, 8)).status()
    assert (status.asked_for, status.rung, status.region) == (Rung.REGION, Rung.REGION, Region(0, 0, 8, 8))


def test_a_rung_can_be_asked_for_and_let_go_at_any_time():
    alone = ladder(fps=0.01)
    alone(picture())
    alone.demand(Rung.COLOUR)
    assert alone(picture()).method == "colour"
    assert (alone.status().reason, alone.status().asked_for) == ("asked for", Rung.COLOUR)
    alone.demand(None)
    assert alone(picture()).method == "full"
    alone.demand(Rung.REGION)
    alone.look_at(Region(0, 0, 10, 10))
    assert alone(picture()).region == Region(0, 0, 10, 10)
    alone.look_at(None)
    assert alone(picture()).region == Region(15, 20, 30, 40)


def test_a_region_that_leaves_the_picture_is_refused_at_once():
    alone = ladder(fps=0.01, region=Region(50, 0, 20, 20))
    with pytest.raises(UserError, match=r"50,0,20,20.*60 rows and 80 columns"):
        alone(picture())


@pytest.mark.parametrize("asked", [None, Rung.REGION])
def test_a_region_that_leaves_a_stream_whose_size_changed_is_let_go_and_told(asked):
    told = []
    alone = ladder(asked, fps=0.01, region=Region(10, 60, 20, 20), on_change=told.append)
    assert alone(picture()).region in (Region(10, 60, 20, 20), Region(0, 0, 60, 80))
    turned = picture(80, 60)
    assert alone(turned).region == (Region(20, 15, 40, 30) if asked else Region(0, 0, 80, 60))
    (change,) = told
    assert change.reason == "the region 10,60,20,20 leaves the picture of 80 rows and 60 columns; it was let go"
    assert change.after is (asked or Rung.FULL)
    assert alone.status().region is None
    alone.look_at(Region(70, 0, 20, 20))  # chosen on a picture that had another size
    assert alone(turned).pixels.size
    assert len(told) == 2


def test_a_region_is_read_as_it_is_written():
    assert Region.parse(" 1, 2,3,4") == Region(1, 2, 3, 4)
    assert str(Region(1, 2, 3, 4)) == "1,2,3,4"
    assert Region.centre_half((1, 1)) == Region(0, 0, 1, 1)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,0,2,2", "-1,0,5,5", "0,0,0,5"])
def test_what_is_no_region_is_refused(text):
    with pytest.raises(UserError, match="region"):
        Region.parse(text)


def test_the_lessons_are_taken_all_over_the_field():
    seen = []

    def network(crop):
        seen.append(crop[0, 0].tolist())
        return Network()(crop)

    stays = Ladder(network, factor=FACTOR, frames_per_s=1, rung=Rung.COLOUR)
    shown = np.zeros((400, 600, 3), np.uint8)
    shown[:, :300, 0] = 50  # left
    shown[:200, :, 1] = 60  # above
    for _ in range(5):
        stays(shown)
    assert seen == [[50, 60, 0], [0, 60, 0], [50, 0, 0], [0, 0, 0]]
