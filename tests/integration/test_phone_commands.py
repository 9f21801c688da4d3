"""`capture` and `ingest` as a user meets them: real processes, phones over sockets and folders, kills and Ctrl-C."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
from adb_server import AdbServer, Phone
from integration.small_job import ENVIRONMENT, MOBILESCOPE, mobilescope
from ip_webcam import IpWebcam
from phone_files import dng, jpeg_bytes, pair
from served_stage import FaultyLine, make_board

from mobilescope.data.session import Session
from mobilescope.twin.firmware_port import FirmwarePort

INSTRUMENT = """\
[benchtop]
frame_rows = 128
frame_columns = 128

[phone]
pixel_um = 0.5
frame_rows = 64
frame_columns = 96
%s
"""
FOLDER = 'kind = "folder"\nfolder = "arriving"\nsettle_s = 0.05'
PLAN = '[[slides]]\nname = "s"\nrole = "training"\ncapture = { rows = %d, columns = %d, overlap = 0.1 }\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "arriving").mkdir()
    (tmp_path / "scope.toml").write_text(INSTRUMENT % FOLDER)
    (tmp_path / "plan.toml").write_text(PLAN % (2, 3))
    return tmp_path


COMMAND = ("--config", "scope.toml", "capture", "plan.toml", "--session", "s.h5", "--yes", "--json")


@contextmanager
def capturing(folder, command=COMMAND):
    process = subprocess.Popen(
        [MOBILESCOPE, *command], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def operate(process, folder, first, *, after=None):
    """Take a picture whenever asked; with ``after`` pictures, call it and take no more. Returns what was said."""
    said, taken = [], first
    for line in process.stderr:
        said.append(line)
        if "then take a picture" in line:
            pair(folder / "arriving", f"IMG_{taken:03d}", seed=taken, after_s=taken)
            taken += 1
        if after is not None and after(line, taken - first):
            break
    return said, taken


def stored(folder):
    if not (folder / "s.h5").exists():
        return []
    with Session.open(folder / "s.h5") as session:
        assert session.verify() == []
        return [record.index for record in session.captures("s")]


def test_a_watched_folder_fills_a_session_without_any_benchtop(folder):
    with capturing(folder) as process:
        said, _ = operate(process, folder, 0)
        output, _ = process.communicate()
    assert process.returncode == 0, said
    assert '"captures": 6' in output
    assert any("43 µm right of the last" in line for line in said)
    with Session.open(folder / "s.h5") as session:
        records = session.captures("s")
        assert [record.position.x_um for record in records[:3]] == pytest.approx([-43.2, 0, 43.2])
        assert [record.settings["dng_file"] for record in records] == [f"IMG_{n:03d}.dng" for n in range(6)]
        assert all(record.light.on for record in records)
        assert session.jpeg(records[0]) == (folder / "arriving" / "IMG_000.jpg").read_bytes()
    # All is there, and nobody is asked for anything.
    assert mobilescope(*COMMAND, folder=folder).json()["slides"]["s"]["captures"] == 6


def test_kills_lose_at_most_the_picture_at_hand_and_the_same_command_goes_on(folder):
    rng, first, before = random.Random(5), 0, []
    for _ in range(3):
        with capturing(folder) as process:
            wanted, wait_s = rng.randint(0, 2), rng.uniform(0, 0.15)

            def enough(_line, taken, wanted=wanted, wait_s=wait_s):
                if taken <= wanted:
                    return False
                time.sleep(wait_s)
                process.send_signal(signal.SIGKILL)
                return True

            _, first = operate(process, folder, first, after=enough)
            process.wait()
        after = stored(folder)
        assert after[: len(before)] == before
        before = after
    with capturing(folder) as process:
        said, _ = operate(process, folder, first)
        process.communicate()
    assert process.returncode == 0, said
    assert stored(folder) == list(range(6))
    with Session.open(folder / "s.h5") as session:
        digests = [record.sha256 for record in session.captures("s")]
    assert len(set(digests)) == 6


def test_one_ctrl_c_ends_the_waiting_and_keeps_what_is_there(folder):
    with capturing(folder) as process:
        asked = []

        def second_request(line, _taken):
            asked.extend([line] if "take a picture" in line else [])
            return len(asked) == 2

        # The second picture is not taken: the command waits for it.
        for line in process.stderr:
            if "take a picture" in line and not asked:
                pair(folder / "arriving", "IMG_0")
            if second_request(line, 0):
                break
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert stored(folder) == [0]


def test_a_phone_over_adb_with_a_motor_stage_needs_nobody(folder, tmp_path):
    def shoot(number):
        data = dng(tmp_path / "shot.dng", seed=number, after_s=number).read_bytes()
        return {f"PXL_{number}.dng": data, f"PXL_{number}.jpg": jpeg_bytes(seed=number, after_s=number)}

    port = FirmwarePort(FaultyLine(make_board("grbl", play_um=(0.0, 0.0, 0.0))))
    port.plug()
    phone = Phone(shoot=shoot)
    try:
        with AdbServer(phone) as server:
            (folder / "scope.toml").write_text(
                INSTRUMENT % f'kind = "adb"\nhost = "127.0.0.1"\nport = {server.port}\nfolder = "kept"\n'
                'settle_s = 0.05\n'
                f'\n[stage]\nkind = "grbl"\nport = "{port.port}"\nsettling_ms = 0\n'
                "x_limits_um = [-2000, 2000]\ny_limits_um = [-2000, 2000]\nz_limits_um = [-50, 50]\n"
            )
            (folder / "plan.toml").write_text(PLAN % (1, 2))
            answer = mobilescope(*COMMAND, folder=folder).json()
    finally:
        port.unplug()
    assert answer["slides"]["s"]["captures"] == 2
    assert len(list((folder / "kept").iterdir())) == 4
    with Session.open(folder / "s.h5") as session:
        for record in session.captures("s"):
            x_um, y_um, _ = map(float, record.settings["stage_um"].split())
            assert (x_um, y_um) == pytest.approx((record.position.x_um, record.position.y_um), abs=0.6)
            assert record.settings["checked"] == "sha256"


def test_a_camera_app_asks_for_each_field_in_the_terminal(folder):
    with IpWebcam() as app:
        (folder / "scope.toml").write_text(
            INSTRUMENT % f'kind = "webcam"\nurl = "{app.url}"\niso = 100\nexposure_ms = 10'
        )
        (folder / "plan.toml").write_text(PLAN % (1, 2))
        without = mobilescope(*COMMAND, folder=folder)
        assert without.status == 2
        assert "a person has to bring the field at x = -22" in without.errors
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [MOBILESCOPE, *COMMAND], cwd=folder, env=ENVIRONMENT, stdin=theirs, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        os.close(theirs)
        try:
            for line in process.stderr:
                if "press Enter" in line:
                    os.write(ours, b"\n")
            process.wait()
        finally:
            process.kill()
            process.communicate()
            os.close(ours)
    assert process.returncode == 0
    with Session.open(folder / "s.h5") as session:
        records = session.captures("s")
        assert [(record.cfa, record.iso) for record in records] == [("", 100)] * 2
        assert records[0].settings["verified"] == "manual_sensor exposure_ns iso"
        assert session.header.instrument["instrument"]["phone"]["iso"] == 100


def test_a_setting_that_does_not_take_ends_the_command_in_one_line(folder):
    with IpWebcam() as app:
        app.deaf.add("iso")
        unknown = INSTRUMENT.replace("frame_rows = 64\nframe_columns = 96\n", "")
        (folder / "scope.toml").write_text(unknown % f'kind = "webcam"\nurl = "{app.url}"\niso = 100')
        run = mobilescope(*COMMAND, folder=folder)
    assert run.status == 1
    assert "did not take its settings: iso is 400 where 100 is wanted" in run.errors.splitlines()[-1]
    assert not (folder / "s.h5").exists()


@pytest.mark.parametrize(("plan", "said"), [
    (PLAN % (1, 1) + PLAN.replace('"s"', '"t"') % (1, 1), "'s' and 't'"),
    ((PLAN % (1, 1)).replace("capture", "scan"), "no slide of the plan has phone fields"),
])
def test_plans_that_can_not_be_captured_are_refused_before_anything_is_opened(plan, said, folder):
    (folder / "plan.toml").write_text(plan)
    run = mobilescope(*COMMAND, folder=folder)
    assert run.status in (1, 2)
    assert said in run.errors
    assert not (folder / "s.h5").exists()


def test_a_scan_goes_on_with_a_session_that_the_phone_began(folder):
    """The phone may be away by then."""
    both = (PLAN % (1, 1)) + "scan = { rows = 1, columns = 2, overlap = 0.1 }\n"
    (folder / "plan.toml").write_text(both)
    text = (folder / "scope.toml").read_text().replace("frame_rows = 64\nframe_columns = 96\n", "")
    (folder / "scope.toml").write_text(text + '\n[twin.slides.s]\nspecimen = "blood"\n')
    pair(folder / "arriving", "first")
    with capturing(folder) as process:
        said, _ = operate(process, folder, 0)
        process.communicate()
    assert process.returncode == 0, said
    for path in (folder / "arriving").iterdir():
        path.unlink()
    scanned = mobilescope("--config", "scope.toml", "scan", "plan.toml", "--session", "s.h5", "--json", folder=folder)
    assert scanned.json()["slides"]["s"] == {"tiles": 2, "captures": 1}


def test_a_slide_that_the_benchtop_scanned_is_captured_with_a_word_about_the_link_that_is_missing(folder):
    (folder / "plan.toml").write_text((PLAN % (1, 1)) + "scan = { rows = 1, columns = 2, overlap = 0.1 }\n")
    with (folder / "scope.toml").open("a") as file:
        file.write('\n[twin.slides.s]\nspecimen = "blood"\n')
    mobilescope("--config", "scope.toml", "scan", "plan.toml", "--session", "s.h5", "--json", folder=folder).json()
    with capturing(folder) as process:
        said, _ = operate(process, folder, 0)
        process.communicate()
    assert process.returncode == 0, said
    words = " ".join("".join(said).split())
    assert words.count("nothing links the phone scope's with it") == 1
    assert "'mobilescope pair' captures them where they belong" in words
    # Nothing is left to be captured, and nothing to be said.
    again = mobilescope(*COMMAND, folder=folder)
    assert "nothing links" not in again.errors


def test_ingest_tells_what_it_did_and_fails_softly(folder):
    pair(folder / "arriving", "a")
    pair(folder / "arriving", "b", seed=1, after_s=4)
    command = ("--config", "scope.toml", "ingest", "arriving", "--session", "s.h5", "--slide", "s", "--json")
    assert mobilescope(*command, folder=folder).json() | {"session": "", "skipped": []} == {
        "session": "", "slide": "s", "added": 2, "already": 0, "unplaced": 2, "untimed": 0, "tiles": 0,
        "duplicates": [], "skipped": [],
    }
    (folder / "arriving" / "bad.dng").write_text("no")
    again = mobilescope(*command, folder=folder)
    assert again.status == 1
    assert "left out: bad.dng: " in again.errors
    assert "s: 0 captures added, 2 were there already" in again.errors
    assert '"file": "bad.dng"' in again.output


def test_ingest_that_is_killed_goes_on(folder):
    for number in range(12):
        pair(folder / "arriving", f"IMG_{number}", seed=number, after_s=number)
    command = ("--config", "scope.toml", "ingest", "arriving", "--session", "s.h5", "--slide", "s", "--json")
    with capturing(folder, command) as process:
        while len(stored_soon(folder)) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = len(stored(folder))
    assert kept >= 3
    assert mobilescope(*command, folder=folder).json()["added"] == 12 - kept
    with Session.open(folder / "s.h5") as session:
        files = [record.settings["dng_file"] for record in session.captures("s")]
    assert files == [f"IMG_{number}.dng" for number in range(12)]


def stored_soon(folder):
    try:
        with Session.open(folder / "s.h5") as session:
            return session.captures("s")
    except Exception:  # noqa: BLE001 - it is only being made
        return []


def test_devices_lists_phones_and_what_to_do_about_them(folder, monkeypatch):
    with AdbServer(Phone(), Phone("B2", state="unauthorized")) as server:
        monkeypatch.setitem(ENVIRONMENT, "ANDROID_ADB_SERVER_PORT", str(server.port))
        run = mobilescope("devices", "--json", folder=folder)
    assert run.json()["phones"]["phones"][0] == {
        "serial": "PHONE1", "model": "Pixel 6", "state": "device", "remedy": "",
    }
    assert "phone PHONE1: Pixel 6, ready" in run.errors
    assert "phone B2: Pixel 6, unauthorized: unlock the phone and allow USB debugging" in run.errors
