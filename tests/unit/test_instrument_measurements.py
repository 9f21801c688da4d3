"""Measurements with an instrument say what is wrong with it, and leave its light and focus as they were."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from mobilescope.app.evaluation import focus_stack, resolution
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import CancelledError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig


@pytest.fixture
def enhancer():
    network = NetworkConfig()
    return Enhancer(EnhancementNetwork(network), ModelCard(network, 0.925, 0.37, "a twin", "phone"), device="cpu")


@pytest.fixture
def built(monkeypatch):
    """Let measurements use a twin without devices."""
    def use(twin, phone=None):
        @contextmanager
        def build(_config, *, source):
            yield SimpleNamespace(
                benchtop=twin.benchtop, phone=phone or twin.phone, check_slide=twin.rack.slide, source=source
            )

        for module in (focus_stack, resolution):
            monkeypatch.setattr(module, "build_instruments", build)

    return use


def test_a_phone_without_a_focus_takes_no_stack(make_twin, built, enhancer, tmp_path):
    built(make_twin(), phone=SimpleNamespace(mount=None, capture=None))
    with pytest.raises(UserError, match="can't set its focus"):
        focus_stack.measure_focus_stack(
            InstrumentConfig(), tmp_path / "s.h5", tmp_path / "p.h5", enhancer, source="here"
        )


def test_a_stack_leaves_light_and_focus_as_they_were(make_twin):
    twin = make_twin({"slide": "blood"}, phone={"bayer_rows": 128, "bayer_columns": 128})
    stop = StopToken()
    taken = focus_stack._stack(twin.phone, "slide", (0.0, 0.0), (-4.0, 4.0), stop)
    z_um, capture = next(taken)
    assert (z_um, twin.phone.defocus_um, capture.light.on) == (-4.0, -4.0, True)
    stop.request()
    with pytest.raises(CancelledError, match="stack of focus"):
        next(taken)
    assert twin.phone.defocus_um == 0
    assert not twin.phone.illuminator.state().on


def test_another_slide_is_not_taken_for_the_target(make_twin, built, enhancer):
    twin = make_twin({resolution.TARGET_SLIDE: "blood"})
    built(twin)
    with pytest.raises(UserError, match="does not look like a USAF 1951 target"):
        resolution.measure_resolution(InstrumentConfig(), enhancer, source="here", captures=1)
    assert not twin.phone.illuminator.state().on
    clear = make_twin({resolution.TARGET_SLIDE: "blank"})
    built(clear)
    with pytest.raises(UserError, match="no focus on the target"):
        resolution.measure_resolution(InstrumentConfig(), enhancer, source="here", captures=1)


def test_bars_that_optics_keep_are_measured_so(make_twin, built, enhancer):
    steady = {
        "focus_error_um": 0, "position_error_um": 0, "colour_drift": 0, "exposure_drift": 0, "stray_light": 0.0,
        "corner_blur": 1.0, "bayer_rows": 320, "bayer_columns": 320,
    }
    built(make_twin({resolution.TARGET_SLIDE: "usaf"}, phone=steady))
    found = resolution.measure_resolution(InstrumentConfig(), enhancer, source="here", captures=2)
    by_element = {(element.group, element.element): element for element in found.elements}
    # Without stray light wide bars are black to the phone too; the narrow ones follow its blur of 0.6 µm.
    wide = max(found.elements, key=lambda element: element.bar_width_um)
    assert wide.contrast["phone"] > 0.95
    assert wide.contrast["benchtop"] > 0.99
    contrasts = [by_element[key].contrast["phone"] for key in ((8, 1), (8, 3), (8, 5))]
    assert contrasts == sorted(contrasts, reverse=True)
    assert np.isfinite(found.finest_um("phone"))
    assert found.captures == 2
