"""`mobilescope phone`, and the phone's page as source of `live` and as camera of `capture`: real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
from integration.small_job import ENVIRONMENT, MOBILESCOPE
from phone_page_parts import RawPage, jpeg, put_still
from small_models import save_small_model

from mobilescope.app.instruments.phone_serving import PageOptions, announce, served_page
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.errors import UserError
from mobilescope.data.session import Session

INSTRUMENT = """\
[benchtop]
frame_rows = 128
frame_columns = 128

[phone]
kind = "browser"
pixel_um = 0.5
port = 0
folder = "from-the-phone"
exposure_ms = 4
"""
PLAN = '[[slides]]\nname = "s"\nrole = "training"\ncapture = { rows = 1, columns = 2, overlap = 0.1 }\n'


@dataclass
class Served:
    """A command that serves the page; what it said so far, and where the page is."""

    process: subprocess.Popen
    said: list[str] = field(default_factory=list)
    port: int = 0
    code: str = ""

    @property
    def listening(self):
        return self

    @property
    def urls(self):
        return (f"http://localhost:{self.port}",)

    def listen(self):
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(r"http://localhost:(\d+)/#([0-9A-Z-]+)", line)
            if found:
                self.port, self.code = int(found[1]), found[2]
                return self
        raise AssertionError("".join(self.said))

    def paired(self):
        page = RawPage(self).hello(code=self.code)
        page.secret = page.heard("welcome")["secret"]
        return page

    def finished(self, timeout_s=60):
        """Return what it printed at its end, all of it said meanwhile kept."""
        reader = Thread(target=lambda: self.said.extend(self.process.stderr))
        reader.start()
        output = self.process.stdout.read()
        self.process.wait(timeout_s)
        reader.join()
        return output


@contextmanager
def served(folder, *arguments, environment=None, stdin=subprocess.DEVNULL):
    process = subprocess.Popen(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=environment or ENVIRONMENT, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def run(folder, *arguments, environment=None):
    return subprocess.run(
        [MOBILESCOPE, *map(str, arguments)], cwd=folder, env=environment or ENVIRONMENT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )


def test_stills_go_into_the_folder_and_the_summary_names_them(tmp_path):
    arguments = ("phone", "--port", 0, "--out", "kept", "--stills", 1, "--qr", "code.png", "--json")
    with served(tmp_path, *arguments) as command:
        page = command.listen().paired()
        assert "this computer alone" in "".join(command.said)
        link, _, _ = cv2.QRCodeDetector().detectAndDecode(cv2.imread(str(tmp_path / "code.png")))
        assert link == f"{command.urls[0]}/#{command.code}"
        assert put_still(command, jpeg(noise=1), secret=page.secret)[0] == 200
        summary = json.loads(command.finished())
    assert command.process.returncode == 0
    (still,) = summary["stills"]
    assert (tmp_path / "kept" / still["file"]).read_bytes() == jpeg(noise=1)
    assert (still["width"], still["height"], summary["phones"]) == (64, 48, 1)


def test_a_person_at_the_terminal_takes_stills_and_shows_new_codes(tmp_path):
    keyboard, terminal = pty.openpty()
    with served(tmp_path, "phone", "--port", 0, stdin=terminal) as command:
        page = command.listen().paired()
        os.write(keyboard, b"\n")
        request = page.heard("take")["request"]
        put_still(command, jpeg(noise=1), secret=page.secret, request=request)
        first = command.code
        os.write(keyboard, b"n\n")
        assert command.listen().code != first
        os.write(keyboard, b"q\n")
        command.finished()
    os.close(keyboard)
    os.close(terminal)
    assert command.process.returncode == 0
    assert len(list((tmp_path / "phone-stills").glob("*.jpg"))) == 1


def test_the_preview_goes_back_enhanced_by_a_model(tmp_path):
    save_small_model(tmp_path / "model.pt")
    with served(tmp_path, "phone", "--port", 0, "--model", "model.pt", "--json") as command:
        page = command.listen().paired()
        page.preview(1)
        data = page.heard("picture", timeout_s=60)
        header = json.loads(data[2 : 2 + int.from_bytes(data[:2], "big")])
        assert header["method"]
        assert header["note"] == "computed, not for diagnosis"
        assert header["delay_ms"] > 0
        # A picture counts once it was sent: the second one tells that the first one was.
        page.preview(2)
        page.heard("picture", timeout_s=60)
        command.process.send_signal(signal.SIGINT)
        summary = json.loads(command.finished())
    assert command.process.returncode == 0
    assert summary["enhanced"]["frames"] >= 1


def test_live_looks_at_the_phones_preview(tmp_path):
    save_small_model(tmp_path / "model.pt")
    arguments = ("live", "model.pt", "--source", "phone:127.0.0.1", "--frames", 2, "--no-window", "--json")
    if port_is_taken():
        pytest.skip("another program serves a phone's page here")
    with served(tmp_path, *arguments) as command:
        page = command.listen().paired()
        numbers = iter(range(1, 1000))
        while command.process.poll() is None:
            page.try_to(lambda: page.preview(next(numbers)))
            try:
                command.process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        summary = json.loads(command.finished())
    assert summary["source"].startswith("phone page")
    assert summary["frames"] == 2


def port_is_taken():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 8765)) == 0


def test_a_plan_is_captured_through_the_page(tmp_path):
    (tmp_path / "scope.toml").write_text(INSTRUMENT)
    (tmp_path / "plan.toml").write_text(PLAN)
    command_line = ("--config", "scope.toml", "capture", "plan.toml", "--session", "s.h5", "--yes", "--json")
    with served(tmp_path, *command_line) as command:
        page = command.listen().paired()
        assert page.camera() is None
        settings = [{"name": "exposure", "state": "locked", "wanted": "4 ms", "got": "4 ms"}]
        pictures = []
        for when in ("now", "tap", "tap"):
            asked = page.heard("take", timeout_s=60)
            assert asked["when"] == when
            pictures.append(jpeg(noise=len(pictures)))
            put_still(command, pictures[-1], secret=page.secret, request=asked["request"], settings=settings)
        output = json.loads(command.finished())
    assert output["slides"]["s"]["captures"] == 2, command.said
    with Session.open(tmp_path / "s.h5") as session:
        records = session.captures("s")
        assert [session.jpeg(record) for record in records] == pictures[1:]
        assert [record.settings["exposure"] for record in records] == ["locked 4 ms"] * 2
        assert records[0].exposure_ms == 4.0
        developed = develop_capture(session, records[0])
    assert (developed.shape, developed.dtype) == ((24, 32, 3), np.uint16)
    assert len(list((tmp_path / "from-the-phone").glob("*.jpg"))) == 3


@pytest.mark.parametrize(("options", "says"), [
    ({"host": "nowhere"}, "'nowhere' is no address"),
    ({"host": "192.0.2.7"}, "has no address 192.0.2.7"),
    ({"host": "127.0.0.2", "usb": True}, "through the cable"),
    ({"out": Path("/proc/nothing")}, "can't be made"),
])
def test_what_can_not_be_served_is_told_before_anything_listens(tmp_path, options, says):
    with pytest.raises(UserError, match=says), served_page(PageOptions(**{"out": tmp_path, "port": 0} | options)):
        pass


def test_a_mistake_is_one_line_and_exit_status_2(tmp_path):
    done = run(tmp_path, "phone", "--lan", "--host", "127.0.0.1")
    assert done.returncode == 2
    assert "give one of them" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = run(tmp_path, "phone", "--port", 0, "--seconds", 0.2, "--region", "0,0,64,64")
    assert done.returncode == 2
    assert done.stderr == "error: --region is of the enhanced preview, and no model was given; give --model too\n"


def test_a_qr_code_in_a_file_of_no_known_kind_is_refused(tmp_path):
    options = PageOptions(out=tmp_path, port=0)
    with pytest.raises(UserError, match=r"neither \.svg nor \.png"), served_page(options) as page:
        announce(page, picture=tmp_path / "code.txt")


def test_over_usb_the_port_is_brought_to_the_phone_and_taken_back(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "adb").write_text('#!/bin/sh\necho "$@" >> adb.log\n')
    (tools / "adb").chmod(stat.S_IRWXU)
    environment = ENVIRONMENT | {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = run(tmp_path, "phone", "--usb", "--port", 0, "--seconds", 0.2, environment=environment)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "adb.log").read_text().splitlines()
    port = first.split(":")[-1]
    assert first == f"reverse tcp:{port} tcp:{port}"
    assert second == f"reverse --remove tcp:{port}"
    (tools / "adb").write_text('#!/bin/sh\necho "error: no devices/emulators found" >&2\nexit 1\n')
    done = run(tmp_path, "phone", "--usb", "--port", 0, environment=environment)
    assert done.returncode == 1
    assert "no devices/emulators found; plug the phone in" in done.stderr


def test_without_adb_on_the_machine_the_one_that_came_along_is_asked(tmp_path):
    done = run(tmp_path, "phone", "--usb", "--port", 0, environment=ENVIRONMENT | {"PATH": "/nowhere"})
    assert done.returncode == 1
    assert "plug the phone in, allow USB debugging" in done.stderr
