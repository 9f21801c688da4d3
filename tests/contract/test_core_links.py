"""What every link to a Micro-Manager core keeps, and how a running Micro-Manager that fails is told."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from java_process import JavaProcess, free_port
from micromanager_demo import demo_link

from mobilescope.core.errors import ConfigError, DeviceError, LinkError, LinkLostError
from mobilescope.devices.micromanager import JavaCore, PythonCore, demo_configuration


@pytest.fixture(scope="module", params=["python", "java"])
def link(request):
    with demo_link(request.param) as made:
        yield made


class TestLink:
    def test_lists_are_lists_of_strings(self, link):
        devices = link.call("list its devices", "get_loaded_devices")
        assert isinstance(devices, list)
        assert {"Camera", "XY", "Z", "Objective", "White Light Shutter"} <= set(devices)
        assert link.call("list values", "get_allowed_property_values", "Camera", "Binning") == ["1", "2", "4", "8"]

    def test_a_region_of_interest_is_four_numbers(self, link):
        link.call("set it", "set_roi", 8, 16, 32, 64)
        assert link.call("read it", "get_roi") == [8, 16, 32, 64]
        link.call("clear it", "clear_roi")
        assert link.call("read it", "get_roi") == [0, 0, 512, 512]

    @pytest.mark.parametrize(("kind", "size"), [("8bit", 1), ("16bit", 2), ("32bitRGB", 4), ("64bitRGB", 8)])
    def test_a_picture_has_the_bytes_of_a_frame(self, link, kind, size):
        link.call("choose pixels", "set_property", "Camera", "PixelType", kind)
        link.call("take a picture", "snap_image")
        assert np.asarray(link.call("read it", "get_image")).nbytes == size * 512 * 512

    def test_answers_have_their_types(self, link):
        assert link.call("ask", "get_shutter_open", "White Light Shutter") is False
        link.call("move", "set_xy_position", "XY", 12.0, -3.0)
        link.call("wait", "wait_for_device", "XY")
        assert link.call("ask", "get_x_position", "XY") == pytest.approx(12, abs=0.02)
        assert link.call("ask", "get_state_label", "Objective") == "Nikon 10X S Fluor"

    def test_what_the_core_says_is_passed_on_without_a_trace(self, link):
        with pytest.raises(DeviceError) as failed:
            link.call("set a property", "set_property", "Nosepiece", "Label", "10x")
        assert failed.value.cause.endswith('could not set a property: No device with label "Nosepiece"')

    def test_it_says_what_it_is(self, link):
        assert {"micromanager.backend", "micromanager.version", "micromanager.configuration"} <= link.facts.keys()
        assert "MMCore version" in link.facts["micromanager.version"]


def test_a_python_core_that_hangs_is_told_in_time_and_works_again_afterwards():
    with demo_link("python"):
        link = PythonCore(demo_configuration(), timeout_s=0.2)
        link.call("set the exposure", "set_exposure", "Camera", 900.0)
        started = time.monotonic()
        with pytest.raises(DeviceError, match=r"did not take a picture within 0\.2 s"):
            link.call("take a picture", "snap_image")
        assert time.monotonic() - started < 0.8
        with pytest.raises(DeviceError, match="still does not answer the request to take a picture"):
            link.call("read x", "get_x_position", "XY")
        time.sleep(1.0)
        assert link.call("read x", "get_x_position", "XY") == 0


# Each round interrupts the wait for the core's answer one line of Python later than the round before.
_INTERRUPTED_AT_EVERY_LINE = """
import sys, time
from mobilescope.devices.micromanager.python_core import _Worker

def ending_of_a_call(lines):
    left = lines
    def trace(frame, what, _argument):
        nonlocal left
        if what == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace
    worker = _Worker()
    sys.settrace(trace)
    try:
        return worker.run("wait", lambda: time.sleep(0.02), 10)
    except BaseException as error:
        return type(error).__name__
    finally:
        sys.settrace(None)

rounds = 1
while (ending := ending_of_a_call(rounds)) is not None:
    assert ending == "KeyboardInterrupt", (rounds, ending)
    rounds += 1
print(rounds)
"""


def test_an_interrupt_at_any_instant_of_a_call_is_no_failure_of_a_device():
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_AT_EVERY_LINE], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 5


class TestRunningMicroManager:
    @pytest.fixture
    def server(self):
        server = JavaProcess()
        yield server
        server.close()

    @pytest.fixture
    def link(self, server):
        link = JavaCore(port=server.port, timeout_s=1.0)
        yield link
        link.close()

    def test_a_slow_reply_is_told_in_time_and_the_next_call_connects_anew(self, server, link):
        renewed = []
        link.after_reconnect(lambda: renewed.append(link.call("list", "get_loaded_devices")))
        server.order("slow 2")
        started = time.monotonic()
        with pytest.raises(LinkLostError, match=r"did not read x within 1 s.*next command connects anew"):
            link.call("read x", "get_x_position", "XY")
        assert time.monotonic() - started < 1.9
        assert link.call("read y", "get_y_position", "XY") == 0
        assert len(renewed) == 1
        assert "Camera" in renewed[0]

    def test_a_server_that_dies_in_mid_call_is_told_and_found_again_when_it_is_back(self, server, link):
        server.order("die")
        with pytest.raises(LinkLostError, match="did not take a picture within 1 s"):
            link.call("take a picture", "snap_image")
        with pytest.raises(LinkError, match=rf"nothing listens at 127\.0\.0\.1:{server.port}.*Run server on port"):
            link.call("take a picture", "snap_image")
        second = JavaProcess(server.port)
        try:
            link.call("take a picture", "snap_image")
            assert link.call("read it", "get_image").size == 512 * 512
        finally:
            second.close()

    def test_a_move_that_got_no_answer_is_not_repeated(self, server, link):
        server.order("slow 2")
        with pytest.raises(LinkLostError):
            link.call("move", "set_xy_position", "XY", 7.0, 0.0)
        link.call("move", "set_xy_position", "XY", 3.0, 0.0)
        time.sleep(0.3)
        assert link.call("read x", "get_x_position", "XY") == pytest.approx(3, abs=0.02)

    def test_a_renewal_that_fails_is_tried_again(self, server, link):
        server.order("slow 2")
        with pytest.raises(LinkLostError):
            link.call("read x", "get_x_position", "XY")
        refusals = [DeviceError("other devices")]

        def renew():
            if refusals:
                raise refusals.pop()

        link.after_reconnect(renew)
        with pytest.raises(DeviceError, match="other devices"):
            link.call("read x", "get_x_position", "XY")
        assert link.call("read x", "get_x_position", "XY") == 0

    def test_a_closed_link_says_so_and_leaves_no_process(self, server, link):
        link.close()
        link.close()
        with pytest.raises(LinkLostError, match="is closed"):
            link.call("read x", "get_x_position", "XY")

    def test_nothing_listening_is_told_with_what_to_switch_on(self):
        started = time.monotonic()
        with pytest.raises(LinkError, match=r"nothing listens at .*tick Tools > Options > Run server on port"):
            JavaCore(port=free_port())
        assert time.monotonic() - started < 1

    def test_a_port_that_another_program_has_is_told(self, monkeypatch):
        monkeypatch.setattr("mobilescope.devices.micromanager.java_core._CONNECT_MS", 300)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(LinkError, match=r"does not answer as Micro-Manager's server does.*timed out after 300"):
                JavaCore(port=port)

    @pytest.mark.parametrize("version", ["4.0.0", "2.0.0"])
    def test_another_protocol_is_refused(self, server, version):
        server.order(f"version {version}")
        with pytest.raises(LinkError, match=rf"speaks version {version} of the protocol, the installed pycromanager 5"):
            JavaCore(port=server.port)

    def test_a_later_version_of_the_same_protocol_is_warned_of_and_recorded(self, server):
        server.order("version 5.2.0")
        with pytest.warns(RuntimeWarning, match=r"speaks version 5\.2\.0"):
            link = JavaCore(port=server.port)
        assert "5.2.0" in link.facts["micromanager.server"]
        link.close()

    def test_a_configuration_that_is_not_loaded_is_refused(self, server, tmp_path):
        JavaCore(port=server.port, configuration=demo_configuration()).close()
        other = tmp_path / "other.cfg"
        other.write_text("Device,Camera,DemoCamera,DCam\nDevice,Turret,DemoCamera,DWheel\n")
        with pytest.raises(ConfigError, match=r"has not loaded Turret of .*other\.cfg"):
            JavaCore(port=server.port, configuration=other)

    def test_a_program_that_is_killed_leaves_no_client_behind(self, server):
        program = (
            "import os, signal\n"
            "from mobilescope.devices.micromanager import JavaCore\n"
            f"link = JavaCore(port={server.port})\n"
            "print(link._client._process.pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        client = int(ended.stdout)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and _runs(client):
            time.sleep(0.05)
        assert not _runs(client)

    def test_calls_of_two_threads_get_their_own_answers(self, link):
        wrong = []

        def ask(name, expected):
            wrong.extend(name for _ in range(50) if link.call("ask", name) != expected)

        questions = (("get_focus_device", "Z"), ("get_camera_device", "Camera"))
        threads = [threading.Thread(target=ask, args=question) for question in questions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_warning_comes_from_the_protocol_that_is_expected():
    server = JavaProcess()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            JavaCore(port=server.port).close()
    finally:
        server.close()
