"""The phone's page in a real Chromium with a camera that is not there: what an operator relies on, end to end."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
from phone_page_parts import PHONE, launched, serving

from mobilescope.core.errors import UserError
from mobilescope.core.phone_page_config import LockWishes
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.addresses import lan_address
from mobilescope.devices.phone_page.pictures import BrowserPictures

ENCODES_H264 = """async () => (await VideoEncoder.isConfigSupported({
  codec: "avc1.42E01F", width: 1280, height: 720, bitrate: 8e6, framerate: 30, avc: { format: "annexb" },
})).supported"""

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def phone(chromium):
    """A phone: what its browser keeps, it keeps from page to page; what goes wrong in its pages fails the test."""
    with new_phone(chromium) as phone:
        yield phone


@contextmanager
def new_phone(chromium, **options):
    context = chromium.new_context(**PHONE, **options)
    errors = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert errors == []


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path, wishes=LockWishes(exposure_ms=5, iso=200, focus=7000)) as server:
        yield server


def opened(phone, server, query=""):
    """Open the page with a new code and wait until its camera runs."""
    page = phone.new_page()
    code = server.hub.desk.new_code()
    page.goto(f"http://localhost:{server.port}/{query}#{code}")
    running(page)
    return page


def running(page):
    holds(page, "window.mobilescope?.state.camera && !document.querySelector('#shutter').disabled")


def holds(page, expression):
    """Wait until an expression holds in the page; by itself, Playwright would need what the page's policy forbids."""
    until(page, lambda: page.evaluate(expression))


def until(page, condition, timeout_s=15):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to that"
        page.wait_for_timeout(20)


def stills(tmp_path):
    return sorted(path for path in (tmp_path / "stills").iterdir() if path.suffix in (".png", ".jpg"))


def test_pairing_preview_settings_and_a_still(phone, server, tmp_path):
    stream = server.hub.frames()
    page = opened(phone, server)
    server.hub.guide("Field 3: go there, focus, then tap the shutter.", "go")
    page.get_by_text("Field 3: go there").wait_for()
    assert page.locator(".cross").is_visible()
    assert page.evaluate("mobilescope.state.wake") == "held"
    assert page.url == f"http://localhost:{server.port}/"
    camera = server.hub.wait_for_camera(10)
    h264 = page.evaluate(ENCODES_H264)  # builds of Chromium without licensed codecs don't
    assert (camera.width, camera.height, camera.codec) == (1280, 720, "H.264" if h264 else "JPEG")
    # Chromium's camera offers exposure up to 10 ms and a focus up to 100, and nothing else.
    told = {report.name: (report.state, report.got) for report in camera.settings}
    assert told["exposure"] == ("locked", "5 ms")
    assert told["focus"] == ("refused", "offers 10 to 100")
    assert {name for name, (state, _) in told.items() if state == "not offered"} == {"iso", "white balance", "zoom"}
    settings = page.evaluate("mobilescope.lens.track.getSettings()")
    assert (settings["exposureMode"], settings["exposureTime"]) == ("manual", 50)
    assert stream.read().pixels.shape == (720, 1280, 3)
    # The camera's picture is green, with a clock in it.
    middle = stream.read().pixels[200:220, 30:60].reshape(-1, 3).mean(axis=0)
    assert middle[1] > 90
    assert max(middle[0], middle[2]) < 60
    sent = page.evaluate_handle("""() => {
      window.added = []; const add = mobilescope.outbox.add.bind(mobilescope.outbox);
      mobilescope.outbox.add = async (blob, header) => {
        const [bytes, picture] = [await blob.arrayBuffer(), await createImageBitmap(blob)];
        window.added.push([Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))),
          picture.width, picture.height]);
        return add(blob, header);
      };
      return window.added;
    }""")
    page.click("#shutter")
    until(page, lambda: stills(tmp_path))
    (kept,) = stills(tmp_path)
    digest, width, height = sent.json_value()[0]
    assert hashlib.sha256(kept.read_bytes()).digest() == bytes(digest)
    assert (width, height) == (camera.still_width, camera.still_height) == (3840, 2160)
    notes = json.loads(kept.with_name(kept.name + ".json").read_text())
    assert (notes["width"], notes["height"]) == (3840, 2160)
    assert {"name": "exposure", "state": "locked", "wanted": "5 ms", "got": "5 ms"} in notes["settings"]
    assert abs(notes["phone_clock_ahead_ms"]) < 1000
    holds(page, "document.querySelector('#saved-count').textContent === '1'")


def test_the_operator_changes_a_setting_and_one_that_slips_is_set_again(phone, server):
    page = opened(phone, server)
    page.evaluate("mobilescope.lens.set('focus', 45)")

    def reports():
        return {report.name: report for report in server.hub.snapshot().camera.settings}

    until(page, lambda: reports()["focus"].state == "locked")
    assert reports()["focus"].got == "45"
    slip = "{advanced: [{exposureMode: 'manual', exposureTime: 90}]}"
    page.evaluate(f"mobilescope.lens.track.applyConstraints({slip})")
    holds(page, "mobilescope.lens.track.getSettings().exposureTime === 50")
    until(page, lambda: reports()["exposure"].got == "5 ms" and reports()["exposure"].state == "locked")
    # A camera whose picture changes its shape, as that of a turned phone, goes on in the new one.
    stream = server.hub.frames()
    page.evaluate("mobilescope.lens.want = {width: 480, height: 640, fps: 30}")
    page.evaluate("mobilescope.lens.apply({resize: true})")
    until(page, lambda: stream.read().pixels.shape == (640, 480, 3))
    until(page, lambda: server.hub.snapshot().camera.width == 480)
    assert reports()["exposure"].state == "locked"


def test_a_still_waits_on_the_phone_while_the_connection_is_lost_and_the_page_closed(phone, server, tmp_path):
    page = opened(phone, server)
    phone.set_offline(True)
    page.evaluate("mobilescope.link.drop()")
    page.click("#shutter")
    holds(page, "mobilescope.state.waiting === 1")
    assert stills(tmp_path) == []
    page.close()
    phone.set_offline(False)
    page = phone.new_page()
    page.goto(f"http://localhost:{server.port}/")
    running(page)
    until(page, lambda: stills(tmp_path))
    holds(page, "mobilescope.state.waiting === 0")
    (kept,) = stills(tmp_path)
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert json.loads(kept.with_name(kept.name + ".json").read_text())["sha256"] == digest
    assert server.hub.snapshot().phone


def test_an_answer_that_is_lost_does_not_keep_a_still_twice(phone, server, tmp_path):
    page = opened(phone, server)
    lost = []

    def lose_the_answer(route):
        # The computer has it, the phone does not hear of it.
        if not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    page.route("**/stills/*", lose_the_answer)
    page.click("#shutter")
    holds(page, "mobilescope.state.waiting === 1")
    holds(page, "mobilescope.state.waiting === 0")
    assert lost == [200]
    assert len(stills(tmp_path)) == 1


def test_a_phone_without_room_keeps_a_still_in_the_page_and_says_so(phone, server, tmp_path):
    page = opened(phone, server)
    room = {"origin": f"http://localhost:{server.port}", "quotaSize": 1000}
    phone.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", room)
    phone.set_offline(True)
    page.evaluate("mobilescope.link.drop()")
    page.evaluate("(() => { window.said = []; const on = mobilescope.outbox.on; const trouble = on.trouble; "
                  "on.trouble = (text) => { window.said.push(text); trouble(text); }; })()")
    page.click("#shutter")
    holds(page, "mobilescope.state.waiting === 1")
    page.get_by_text("leave this page open").wait_for()
    assert "keeps no more stills (QuotaExceededError)" in page.evaluate("window.said[0]")
    phone.set_offline(False)
    until(page, lambda: stills(tmp_path))
    holds(page, "mobilescope.state.waiting === 0")
    assert len(stills(tmp_path)) == 1


def test_a_phone_whose_storage_ends_meanwhile_still_sends_what_it_takes(phone, server, tmp_path):
    page = opened(phone, server)
    page.evaluate("mobilescope.outbox.db.close()")
    page.click("#shutter")
    until(page, lambda: stills(tmp_path))
    holds(page, "mobilescope.state.waiting === 0 && !mobilescope.state.taking")


def test_a_still_that_failed_while_the_connection_was_lost_is_taken_when_it_is_back(phone, server):
    page = opened(phone, server)
    page.evaluate("""() => {
      const read = Blob.prototype.arrayBuffer;
      Blob.prototype.arrayBuffer = async function () {
        Blob.prototype.arrayBuffer = read;
        mobilescope.link.drop();
        throw new Error("no memory");
      };
    }""")
    with ThreadPoolExecutor(1) as pool:
        take = pool.submit(server.hub.shutter.take, timeout_s=20)
        page.get_by_text("No still: no memory").wait_for()
        page.evaluate("mobilescope.link.connect()")
        until(page, take.done, timeout_s=30)
    assert take.result().width == 3840


def test_a_still_asked_for_while_one_is_taken_is_taken_afterwards(phone, server):
    page = opened(phone, server)
    with ThreadPoolExecutor(3) as pool:
        takes = [pool.submit(server.hub.shutter.take, timeout_s=20) for _ in range(3)]
        until(page, lambda: all(take.done() for take in takes), timeout_s=30)
    # Each has its own answer, though Chromium's camera may give one picture twice.
    assert len({take.result().header.request for take in takes}) == 3
    holds(page, "mobilescope.state.waiting === 0 && !mobilescope.state.taking")


EARLY_PHOTO = """async () => {
  const { imageCapture } = mobilescope.lens, shoot = imageCapture.takePhoto.bind(imageCapture);
  const small = await shoot();
  let early = true;
  imageCapture.takePhoto = (settings) => {
    const now = early;
    early = false;
    return now ? Promise.resolve(small) : shoot(settings);
  };
}"""


def test_a_still_has_all_its_pixels_though_the_camera_is_late(phone, server):
    page = opened(phone, server)
    page.evaluate(EARLY_PHOTO)
    with ThreadPoolExecutor(1) as pool:
        take = pool.submit(server.hub.shutter.take, timeout_s=20)
        until(page, take.done, timeout_s=30)
    assert (take.result().width, take.result().height) == (3840, 2160)


def test_a_chosen_file_that_can_not_be_read_is_named_and_the_others_are_sent(phone, server, tmp_path):
    page = opened(phone, server)
    # As a browser answers for a file that was moved after it was chosen.
    page.evaluate("""() => {
      const read = Blob.prototype.arrayBuffer;
      Blob.prototype.arrayBuffer = function () {
        return this.name === "moved.dng"
          ? Promise.reject(new DOMException("The file could not be read", "NotReadableError")) : read.call(this);
      };
    }""")
    kinds = {"mimeType": "image/x-adobe-dng", "buffer": b"II*\0" + bytes(5000)}
    page.set_input_files("#files", [{"name": name, **kinds} for name in ("moved.dng", "there.dng")])
    until(page, lambda: list((tmp_path / "stills").glob("*-there.dng")))
    holds(page, "mobilescope.state.waiting === 0")
    page.get_by_text("moved.dng (The file could not be read)").wait_for()


def test_the_page_comes_back_when_the_program_was_started_anew(phone, tmp_path):
    book = tmp_path / "phones.json"
    with serving(tmp_path, book=book) as server:
        page = opened(phone, server)
        port = server.port
    holds(page, "mobilescope.state.link === 'lost'")
    with serving(tmp_path, book=book, port=port) as server:
        until(page, lambda: server.hub.snapshot().pictures > 0)
        assert server.hub.snapshot().camera.still_width == 3840


def test_a_second_phone_asks_before_it_takes_over_and_the_first_is_told(chromium, phone, server):
    first = opened(phone, server)
    with new_phone(chromium) as other:
        second = other.new_page()
        second.goto(server.pairing_url(server.hub.desk.new_code()))
        second.get_by_role("button", name="Take over").click()
        running(second)
        first.get_by_role("button", name="Take it back").wait_for()
        assert "took over" in first.locator("#cover-text").inner_text()
        first.wait_for_timeout(600)
        # It does not fight for the camera by itself.
        assert first.locator("#cover").is_visible()
        assert second.locator("#cover").is_hidden()


def test_a_code_that_was_used_is_refused_with_words_and_a_new_one_can_be_typed(chromium, phone, server):
    code = server.hub.desk.new_code()
    server.hub.desk.redeem(code, "somebody")
    page = phone.new_page()
    page.goto(server.pairing_url(code))
    page.get_by_text("used already").wait_for()
    page.fill("#code", server.hub.desk.new_code().lower())
    page.get_by_role("button", name="Pair").click()
    running(page)


def test_jpeg_stands_in_where_no_video_is_encoded_and_a_canvas_where_no_stills_are_taken(phone, server, tmp_path):
    phone.add_init_script("delete window.VideoEncoder; delete window.ImageCapture;")
    page = opened(phone, server)
    camera = server.hub.wait_for_camera(10)
    assert camera.codec == "JPEG"
    assert camera.still_method.startswith("canvas")
    stream = server.hub.frames()
    assert stream.read().pixels.shape == (720, 1280, 3)
    page.click("#shutter")
    until(page, lambda: stills(tmp_path))
    assert stills(tmp_path)[0].suffix == ".jpg"
    holds(page, "mobilescope.state.waiting === 0")
    # Raw pictures come as files of the camera app, whatever those are called.
    data = b"II*\0" + bytes(5000)
    page.set_input_files("#files", {"name": "IMG ../7.dng", "mimeType": "image/x-adobe-dng", "buffer": data})
    until(page, lambda: list((tmp_path / "stills").glob("*.dng")))
    (kept,) = (tmp_path / "stills").glob("*.dng")
    assert kept.read_bytes() == data
    assert kept.name.endswith("-7.dng")


def test_in_the_network_the_page_is_served_by_https_with_all_that_it_needs(chromium, tmp_path):
    try:
        own = lan_address()
    except UserError:
        pytest.skip("this machine is in no network")
    with serving(tmp_path, host=own) as server, new_phone(chromium, ignore_https_errors=True) as phone:
        page = phone.new_page()
        page.goto(server.pairing_url(server.hub.desk.new_code()))
        running(page)
        page.click("#shutter")
        until(page, lambda: stills(tmp_path))
        assert page.evaluate("isSecureContext && location.protocol === 'https:'")


def test_a_capture_through_the_page_is_what_the_camera_gave(phone, server):
    page = opened(phone, server)
    source = BrowserPictures(lambda: nullcontext(server.hub), by_hand=True, patience_s=30)
    assert asked(page, source.shape) == (2160, 3840)
    source.prepare()
    source.guide("Field 1: tap the shutter.")
    page.locator("#shutter.wanted").click()
    picture = asked(page, lambda: source.take(StopToken(), ()))
    assert picture.shape == (2160, 3840)
    assert picture.exposure_ms == 5.0
    assert picture.facts["exposure"] == "locked 5 ms"
    assert picture.facts["white balance"] == "not offered"
    assert picture.facts["method"].startswith("ImageCapture")
    assert abs(picture.captured_s - time.time()) < 30
    page.locator("#shutter.wanted").wait_for(state="detached")


def asked(page, work):
    """Do in another thread what waits for the page, while this one lets the page run."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not future.done():
            page.wait_for_timeout(20)
        return future.result()
