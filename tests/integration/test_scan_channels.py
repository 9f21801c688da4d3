"""Two colours of the ring as channels of a scan: each is in the session in its own light, in focus, and stitched."""

from __future__ import annotations

import numpy as np
from integration.small_job import mobilescope

from mobilescope.data.session import Session

INSTRUMENT = """\
[benchtop]
frame_rows = 160
frame_columns = 160

[twin.slides.s]
specimen = "h&e"
"""
PLAN = """\
[[slides]]
name = "s"
role = "training"

[slides.scan]
rows = 2
columns = 2
overlap = 0.25
channels = [
    { name = "red", colour = [255, 0, 0] },
    { name = "green", colour = [0, 255, 0], brightness = 0.5 },
]
"""


def test_two_ring_colours_are_scanned_and_found_in_the_session(tmp_path):
    (tmp_path / "instrument.toml").write_text(INSTRUMENT)
    (tmp_path / "plan.toml").write_text(PLAN)
    command = "--config", "instrument.toml", "scan", "plan.toml", "--session", "s.h5", "--json"
    mobilescope(*command, folder=tmp_path).json()
    with Session.open(tmp_path / "s.h5") as session:
        tiles = session.tiles("s")
        assert [(tile.row, tile.column, tile.channel) for tile in tiles] == [
            (row, column, channel)
            for row, column in ((0, 0), (0, 1), (1, 1), (1, 0)) for channel in ("red", "green")
        ]
        for tile in tiles:
            red, green, blue = session.tile_pixels(tile).mean(axis=(0, 1))
            shown = (tile.light.on, tile.light.red, tile.light.green, tile.light.blue)
            if tile.channel == "red":
                assert shown == (True, 255, 0, 0)
                assert red > 5 * max(green, blue)
            else:
                assert shown == (True, 0, 255, 0)
                assert abs(tile.light.brightness - 0.5) < 0.01
                assert green > 5 * max(red, blue)
            assert tile.focus.verdict == "focused"
        # A clear field is pictured in the light of each.
        for channel, lit in (("red", 0), ("green", 1)):
            flat = session.flat_field("benchtop", channel).mean(axis=(0, 1))
            assert np.argmax(flat) == lit
            assert flat[lit] > 100 * np.delete(flat, lit).max()
        assert session.flat_field("benchtop") is None
    marks = [tile["mark"] for tile in mobilescope("stitch", "s.h5", "--json", folder=tmp_path).json()["tiles"]]
    assert marks == ["linked"] * 4


def test_after_the_scan_the_ring_is_dark_and_the_lamp_lights_the_slide(make_twin):
    twin = make_twin({"s": "blood"}, frame_px=64)
    twin.benchtop.mount("s")
    twin.phone.illuminator.set_colour(255, 0, 0, 0.5)
    image = twin.benchtop.snap()
    assert (image.light.red, image.light.green, image.light.brightness) == (255, 0, 0.5)
    assert image.pixels[..., 0].mean() > 5 * image.pixels[..., 1].mean()
    twin.phone.illuminator.off()
    image = twin.benchtop.snap()
    assert image.light.source == "benchtop lamp"
    assert np.ptp(image.pixels.mean(axis=(0, 1))) < 60
