"""A camera app over HTTP: settings are made, read back, and verified after each picture."""

from __future__ import annotations

import pytest
from ip_webcam import IpWebcam

from mobilescope.core.errors import DeviceError, LinkLostError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.http_app import HttpApp
from mobilescope.devices.phones.webcam_pictures import WebcamPictures, same_value, wanted_settings

NOBODY = StopToken()
LOCKED = {"exposure_ms": 10.0, "iso": 100, "white_balance": "daylight", "focus_distance": 2.5}


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr("mobilescope.devices.phones.webcam_pictures._TAKES_S", 0.3)
    with IpWebcam() as app:
        yield app


def source(app, *, url=None, further=None, still="photo", patience_s=5.0, **locks):
    wanted = wanted_settings(**{key: locks.get(key) for key in LOCKED}, further=further or {})
    return WebcamPictures(HttpApp(url or app.url, patience_s=patience_s), wanted=wanted, still=still)


def test_everything_is_locked_before_the_first_picture_and_verified(app):
    picture = source(app, **LOCKED).take(NOBODY, ())
    assert app.curvals["manual_sensor"] == "on"
    assert app.curvals["focusmode"] == "off"
    made = [path for path in app.asked if path.startswith("/settings/")]
    assert made[0] == "/settings/manual_sensor?set=on"
    assert "/photo.jpg" in app.asked
    assert app.asked.index("/photo.jpg") > app.asked.index(made[-1])
    assert picture.facts["verified"].split() == [
        "manual_sensor", "exposure_ns", "iso", "whitebalance", "focusmode", "focus_distance",
    ]
    assert picture.facts["not_locked"] == "nothing"
    assert (picture.exposure_ms, picture.iso) == (pytest.approx(10, rel=0.01), 100)


def test_what_is_set_already_is_not_set_again(app):
    one = source(app, **LOCKED)
    one.take(NOBODY, ())
    before = len(app.asked)
    one.take(NOBODY, ())
    assert [path.split("?")[0] for path in app.asked[before:]] == ["/photo.jpg", "/status.json"]


@pytest.mark.parametrize("key", ["exposure_ns", "iso", "whitebalance", "focusmode", "manual_sensor"])
def test_a_setting_that_does_not_take_is_told_with_what_is_offered(key, app):
    app.deaf.add(key)
    with pytest.raises(DeviceError, match=rf"did not take its settings: {key} is .* is wanted.*it offers {key}: "):
        source(app, **LOCKED).take(NOBODY, ())
    assert app.stills == 0


def test_a_setting_that_the_app_does_not_have_is_told(app):
    with pytest.raises(DeviceError, match="has no setting noise_reduction"):
        source(app, further={"noise_reduction": False}).take(NOBODY, ())


def test_what_is_not_locked_is_said_with_each_picture(app):
    picture = source(app, iso=100).take(NOBODY, ())
    assert picture.facts["not_locked"] == "exposure, white balance, focus"


def test_a_setting_that_changes_by_itself_is_found_after_the_picture(app):
    app.forget_after_still = True
    one = source(app, **LOCKED)
    with pytest.raises(DeviceError, match=r"manual_sensor is off where on is wanted.*not kept"):
        one.take(NOBODY, ())
    app.forget_after_still = False
    assert one.take(NOBODY, ()).facts["app_manual_sensor"] == "on"


def test_a_photo_that_is_exposed_apart_from_the_settings_is_refused(app):
    app.told_exposure_s = 0.05
    with pytest.raises(DeviceError, match=r"notes say exposure_ns = 5e\+07, and 9.* is locked"):
        source(app, **LOCKED).take(NOBODY, ())


def test_the_settings_stand_in_for_notes_that_are_missing(app):
    app.notes = False
    picture = source(app, **LOCKED).take(NOBODY, ())
    assert (picture.exposure_ms, picture.iso) == (pytest.approx(10, rel=0.01), 100)


def test_further_settings_are_text_as_the_app_writes_it(app):
    app.curvals["overlay"] = "on"
    source(app, further={"quality": 100, "overlay": False}).take(NOBODY, ())
    assert (app.curvals["quality"], app.curvals["overlay"]) == ("100", "off")


def test_a_picture_that_breaks_off_is_not_kept(app):
    app.truncated = True
    with pytest.raises(DeviceError, match=r"does not answer|no whole picture"):
        source(app).take(NOBODY, ())


def test_an_answer_that_trickles_has_an_end(app):
    app.trickles = True
    with pytest.raises(LinkLostError, match=r"no whole answer in 0.5 s"):
        source(app, patience_s=0.5).take(NOBODY, ())
    app.trickles = False


def test_a_still_that_takes_long_is_waited_for_as_long_as_the_patience(app, monkeypatch):
    monkeypatch.setattr("mobilescope.devices.phones.http_app._CONNECT_S", 0.2)
    app.late_s = 0.6
    assert source(app).take(NOBODY, ()).shape == (64, 96)
    with pytest.raises(LinkLostError, match=r"no whole answer in 0.4 s"):
        source(app, patience_s=0.4).take(NOBODY, ())


def test_an_answer_without_end_is_given_up(app, monkeypatch):
    monkeypatch.setattr("mobilescope.devices.phones.http_app._MOST_BYTES", 1000)
    with pytest.raises(DeviceError, match=r"sends more than"):
        source(app).take(NOBODY, ())


def test_a_password_is_used_and_never_shown(app):
    app.password = "lab:se%cret"
    with pytest.raises(UserError, match=r"wants a user name and a password.*NAME:PASSWORD"):
        source(app).take(NOBODY, ())
    with_password = app.url.replace("//", "//lab:se%25cret@")
    one = source(app, url=with_password)
    one.take(NOBODY, ())
    assert "se%" not in one.name
    app.pull()
    with pytest.raises(LinkLostError) as told:
        one.take(NOBODY, ())
    assert "se%" not in str(told.value)


def test_nobody_at_the_address_is_told(app):
    url = app.url
    app.pull()
    with pytest.raises(LinkLostError, match=r"does not answer.*wake it.*same network"):
        source(app, url=url).take(NOBODY, ())


def test_another_server_is_told_apart(app):
    with pytest.raises(DeviceError, match=r"/elsewhere/status\.json\S* answers 404.*which app serves it"):
        source(app, url=app.url + "/elsewhere").take(NOBODY, ())
    app.curvals = None
    with pytest.raises(DeviceError, match="not what IP Webcam answers"):
        source(app).take(NOBODY, ())


@pytest.mark.parametrize(("told", "wanted", "same"), [
    ("9999990", "10000000", True), ("33333333", "10000000", False), ("Daylight", "daylight", True), ("0.0", "0", True),
    ("2.49", "2.5", True), ("", "100", False), ("nan", "100", False),
])
def test_values_agree_up_to_the_sensors_rounding(told, wanted, same):
    assert same_value(told, wanted) is same
