"""A zoom keeps what is under the pointer where it is, and never leaves the picture."""

from __future__ import annotations

import pytest

from mobilescope_gui.zoom import MOST, Part, Zoom


def seen_at(zoom, x, y, columns=800, rows=600):
    """Return the pixel of a picture that stands at a point of its view."""
    part = zoom.part_of(columns, rows)
    return part.left + x * part.width, part.top + y * part.height


def test_without_zoom_the_whole_picture_is_seen():
    assert Zoom().part_of(1920, 1080) == Part(0, 0, 1920, 1080)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.1, 0.8), (1.0, 0.0)])
def test_what_is_under_the_pointer_stays_there(at):
    zoom = Zoom()
    pixel = seen_at(zoom, *at)
    for _ in range(5):
        zoom = zoom.closer(1.3, *at)
        assert seen_at(zoom, *at) == pytest.approx(pixel)
    assert zoom.closer(1 / 1.3**5, *at) == Zoom()


def test_it_comes_no_closer_than_the_most_and_no_farther_than_the_whole():
    assert Zoom().closer(1000).factor == MOST
    assert Zoom().closer(0.1, 0.2, 0.9) == Zoom()


@pytest.mark.parametrize("way", [(5, 5), (-5, 0.1), (0, -9)])
def test_moving_ends_at_the_edges(way):
    part = Zoom().closer(4).moved(*way).part_of(800, 600)
    assert part.left >= 0
    assert part.top >= 0
    assert part.left + part.width <= 800
    assert part.top + part.height <= 600


def test_moving_by_a_width_shows_the_part_beside():
    zoom = Zoom(4.0, 0.25, 0.5)
    assert zoom.moved(1, 0).part_of(800, 600).left == zoom.part_of(800, 600).left + 200


def test_pictures_of_one_field_show_the_same_place():
    zoom = Zoom().closer(3.3, 0.2, 0.7)
    small, large = zoom.part_of(400, 300), zoom.part_of(1000, 750)
    assert [2.5 * value for value in (small.left, small.top, small.width, small.height)] == pytest.approx(
        [large.left, large.top, large.width, large.height]
    )
