"""Stills as pictures: asked for and waited for, and what notes and page say of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from phone_files import jpeg_bytes
from phone_page_parts import RawPage, jpeg, put_still, until

from mobilescope.core.errors import CancelledError, DeviceError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.pictures import BrowserPictures, picture_of


def test_a_still_that_was_asked_for_is_waited_for_over_a_lost_connection(server):
    page = RawPage(server).paired()
    page.camera()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.hub.shutter.take, timeout_s=20)
        request_id = page.heard("take")["request"]
        page.close()
        again = RawPage(server, secret=page.secret).hello()
        assert again.heard("take")["request"] == request_id
        put_still(server, jpeg(noise=3), secret=page.secret, request=request_id)
        assert asked.result().path.read_bytes() == jpeg(noise=3)


@pytest.mark.parametrize(("told", "exposure_ms", "iso"), [
    ({}, 20, 100),
    ({"exposure": "", "iso": "unknown"}, 20, 100),
    ({"exposure": "nan ms", "iso": "nan"}, 20, 100),
    ({"exposure": "-inf", "iso": "inf"}, 20, 100),
    ({"exposure": "0 ms", "iso": "1e300"}, 20, 100),
    ({"exposure": "5 ms", "iso": "200"}, 20, 100),
])
def test_a_still_was_taken_with_what_its_own_notes_tell_whatever_the_page_knows(server, told, exposure_ms, iso):
    picture = taken_by_page(server, jpeg_bytes(iso=100, exposure_s=0.02), told)
    assert (picture.exposure_ms, picture.iso) == (exposure_ms, iso)


def taken_by_page(server, data, told, state="free"):
    """Return a still as a picture, sent with what the page read of its camera's settings."""
    page, kept = RawPage(server).paired(take_over=True), []
    server.hub.on_still(kept.append)
    settings = [{"name": name, "state": state, "got": got} for name, got in told.items()]
    put_still(server, data, secret=page.secret, settings=settings)
    return picture_of(kept[0])


@pytest.mark.parametrize(("exif", "exposure_ms", "iso"), [
    ({"told": False}, 5, 200), ({"iso": 0}, 20, 200), ({"exposure_s": 0}, 5, 100),
])
def test_what_a_stills_notes_do_not_tell_is_the_pages(server, exif, exposure_ms, iso):
    data = jpeg_bytes(**{"iso": 100, "exposure_s": 0.02} | exif)
    picture = taken_by_page(server, data, {"exposure": "5 ms", "iso": "200"})
    assert (picture.exposure_ms, picture.iso) == (exposure_ms, iso)
    unknown = taken_by_page(server, jpeg(noise=7), {})
    assert (np.isnan(unknown.exposure_ms), unknown.iso) == (True, 0)


@pytest.mark.parametrize(("told", "differ"), [
    ({"exposure": "5 ms", "iso": "200"}, "exposure 20 ms, page 5 ms; iso 100, page 200"),
    ({"exposure": "19 ms", "iso": "100"}, None),
])
def test_a_still_that_was_taken_otherwise_than_the_page_reads_says_so(server, told, differ):
    picture = taken_by_page(server, jpeg_bytes(iso=100, exposure_s=0.02), told)
    assert picture.facts.get("notes_differ") == differ
    assert picture.facts["exposure"] == f"free {told['exposure']}"


@pytest.mark.parametrize(("state", "times"), [("locked", 1), ("free", 0)])
def test_a_phone_that_takes_stills_apart_from_what_is_locked_is_told_once(server, state, times):
    page = RawPage(server).paired()
    page.camera()
    source = BrowserPictures(lambda: nullcontext(server.hub), by_hand=False, patience_s=20)
    settings = [{"name": "exposure", "state": state, "got": "5 ms"}, {"name": "iso", "state": state, "got": "100"}]
    with ThreadPoolExecutor(1) as pool:
        for number in range(2):
            taking = pool.submit(source.take, StopToken(), ())
            data = jpeg_bytes(seed=number, iso=100, exposure_s=0.02)
            put_still(server, data, secret=page.secret, request=page.heard("take")["request"], settings=settings)
            assert taking.result(20).exposure_ms == 20
    warnings = [event for event in server.events if "exposure is locked at 5 ms" in event]
    assert len(warnings) == times
    assert all("the still's own notes say 20 ms" in event for event in warnings)
    assert not any("iso is locked" in event for event in server.events)
    source.close()


def test_who_asks_for_a_still_hears_why_none_comes(server):
    with pytest.raises(DeviceError, match="no phone is connected"):
        server.hub.shutter.take(timeout_s=0.05)
    page = RawPage(server).paired(name="Pixel")
    page.camera()
    page.say({"kind": "visible", "visible": False})
    until(lambda: not server.hub.snapshot().awake)
    with pytest.raises(DeviceError, match="Pixel is asleep"):
        server.hub.shutter.take(timeout_s=0.05)
    page.say({"kind": "visible", "visible": True})
    page.say({"kind": "camera_failed", "reason": "another app uses it"})
    until(lambda: server.hub.snapshot().camera_failure)
    with pytest.raises(DeviceError, match="another app uses it"):
        server.hub.shutter.take(timeout_s=0.05)
    page = RawPage(server, secret=page.secret).hello()
    page.camera()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.hub.shutter.take, timeout_s=20)
        page.say({"kind": "take_failed", "request": page.heard("take")["request"], "reason": "too dark"})
        with pytest.raises(DeviceError, match="too dark"):
            asked.result()


def test_a_phone_that_is_turned_or_changes_its_resolution_is_noticed(server):
    page = RawPage(server).paired()
    page.camera(still=(400, 300))
    page.camera(still=(300, 400))
    assert "turned" in page.heard("warning")["text"]
    assert "turned" in server.hub.snapshot().warning
    page.camera(still=(400, 300))
    assert page.heard("warning")["text"] == ""
    page.camera(still=(200, 150))
    assert "resolution changed: stills are 200x150" in page.heard("warning")["text"]


def test_waiting_for_a_phone_ends_when_a_stop_is_asked_for(server):
    stop = StopToken()
    source = BrowserPictures(lambda: nullcontext(server.hub), by_hand=True, patience_s=60)
    source.prepare()
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(source.take, stop, ())
        stop.request()
        with pytest.raises(CancelledError):
            taking.result(10)
    source.close()
