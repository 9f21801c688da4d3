"""Colours, patterns and sequences: what people write is understood, what no ring can show is refused by name."""

from __future__ import annotations

import pytest

from mobilescope.core.errors import ConfigError, PlanError
from mobilescope.core.ring_protocol import PatternKind
from mobilescope.plans.illumination import (
    Pattern,
    Sequence,
    SequenceStep,
    colour_from_linear,
    colour_of_temperature,
    load_sequence,
    parse_colour,
)

AMBER = (255, 128, 0)


@pytest.mark.parametrize("text", ["ff8000", "#ff8000", "FF8000", "255,128,0", " 255, 128, 0 "])
def test_a_colour_is_read_as_people_write_it(text):
    assert parse_colour(text) == AMBER


@pytest.mark.parametrize("text", ["", "ff80", "ff80000", "#ff80zz", "255,128", "1,2,3,4", "red", "1,2,x"])
def test_what_is_no_colour_is_named(text):
    with pytest.raises(PlanError, match="is no colour; give six hexadecimal digits"):
        parse_colour(text)


def test_a_channel_out_of_range_is_named():
    with pytest.raises(PlanError, match="green is 256; give a whole number from 0 to 255"):
        parse_colour("1,256,3")
    with pytest.raises(PlanError, match="blue is -1"):
        Pattern.bright_field((0, 0, -1))
    with pytest.raises(PlanError, match=r"red is 0\.5"):
        Pattern.bright_field((0.5, 0, 0))


def test_linear_light_is_in_proportion_to_the_drive_values():
    assert colour_from_linear((1.0, 0.5, 0.0)) == AMBER
    for wrong in (1.001, -0.001, float("nan")):
        with pytest.raises(PlanError, match="green is"):
            colour_from_linear((0.0, wrong, 0.0))


# Linear sRGB of the Planckian locus from Krystek's rational approximation in CIE 1960 (u, v) (Color Research and
# Application 10, 1985), an independent way to the same colours.
def krystek(kelvin):
    t = kelvin
    u = (0.860117757 + 1.54118254e-4 * t + 1.28641212e-7 * t * t) / (1 + 8.42420235e-4 * t + 7.08145163e-7 * t * t)
    v = (0.317398726 + 4.22806245e-5 * t + 4.20481691e-8 * t * t) / (1 - 2.89741816e-5 * t + 1.61456053e-7 * t * t)
    x, y = 3 * u / (2 * u - 8 * v + 4), 2 * v / (2 * u - 8 * v + 4)
    big_x, big_z = x / y, (1 - x - y) / y
    linear = (
        3.2406 * big_x - 1.5372 - 0.4986 * big_z,
        -0.9689 * big_x + 1.8758 + 0.0415 * big_z,
        0.0557 * big_x - 0.2040 + 1.0570 * big_z,
    )
    return [255 * max(0, value) / max(linear) for value in linear]


@pytest.mark.parametrize("kelvin", [1000, 1900, 2700, 3200, 4000, 5000, 6500, 9000, 15_000])
def test_a_temperature_gives_the_colour_of_a_glowing_body(kelvin):
    assert colour_of_temperature(kelvin) == pytest.approx(krystek(kelvin), abs=5)


def test_a_temperature_keeps_to_its_level_and_range():
    assert max(colour_of_temperature(3200, level=40)) == 40
    assert colour_of_temperature(20_000)[2] == 255
    for kelvin in (999, 20_001, float("nan")):
        with pytest.raises(PlanError, match="1000 to 20000 K"):
            colour_of_temperature(kelvin)
    with pytest.raises(PlanError, match="level is 256"):
        colour_of_temperature(3200, level=256)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: Pattern(PatternKind.BRIGHT_FIELD, 1, AMBER), "position of a bright field is 1.* 0 to 0"),
        (lambda: Pattern.channel(3, AMBER), "position of a channel is 3.* 0 to 2"),
        (lambda: Pattern.single(60, AMBER), "position of a single is 60.* 0 to 59"),
        (lambda: Pattern.half_ring(-1, AMBER), "position of a half ring is -1"),
        (lambda: SequenceStep(Pattern.single(0, AMBER), 9), "duration_ms is 9.* 10 to 65535"),
        (lambda: SequenceStep(Pattern.single(0, AMBER), 65_536), "duration_ms is 65536"),
        (lambda: Sequence(()), "number of steps is 0"),
        (lambda: Sequence((SequenceStep(Pattern.single(0, AMBER), 10),), 65_536), "repeats is 65536"),
    ],
)
def test_what_no_ring_can_show_is_refused(make, cause):
    with pytest.raises(PlanError, match=cause):
        make()


def test_a_sequence_is_read_from_a_file(tmp_path):
    path = tmp_path / "sequence.toml"
    path.write_text(
        'repeats = 3\n[[steps]]\npattern = "half-ring"\nposition = 6\ncolour = "ff8000"\nduration_ms = 100\n'
        '[[steps]]\npattern = "bright-field"\ncolour = [1, 2, 3]\nduration_ms = 50\n'
    )
    sequence = load_sequence(path)
    assert sequence == Sequence(
        (
            SequenceStep(Pattern.half_ring(6, AMBER), 100),
            SequenceStep(Pattern.bright_field((1, 2, 3)), 50),
        ),
        repeats=3,
    )
    assert sequence.duration_s == pytest.approx(0.45)


STEP = '[[steps]]\npattern = "single"\ncolour = "010203"\nduration_ms = 10\n'


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("repeats = 1\n", "steps"),
        ("repeats = -1\n" + STEP, "repeats"),
        (STEP.replace("single", "spiral"), r"steps\.0\.pattern.*known patterns are bright-field, half-ring"),
        (STEP.replace("010203", "0102"), r"steps\.0\.colour.*is no colour"),
        (STEP.replace('"010203"', "[1, 2, 300]"), r"steps\.0\.colour"),
        (STEP.replace("= 10", "= 9"), r"steps\.0\.duration_ms"),
        (STEP + "position = 60\n", r"steps\.0\.position"),
        (STEP + "brightness = 1\n", "unknown key"),
        (STEP * 17, "steps"),
    ],
)
def test_a_wrong_file_is_refused_naming_file_and_key(tmp_path, text, cause):
    path = tmp_path / "sequence.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=cause) as refused:
        load_sequence(path)
    assert str(path) in str(refused.value)


def test_a_position_that_its_pattern_has_not_is_refused(tmp_path):
    path = tmp_path / "sequence.toml"
    path.write_text(STEP.replace("single", "channel") + "position = 3\n")
    with pytest.raises(PlanError, match="position of a channel is 3"):
        load_sequence(path)
