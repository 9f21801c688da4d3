"""`mobilescope live` as a user runs it: every source, clean endings, one-line errors, and a ring that goes dark."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from integration.small_job import ENVIRONMENT, MOBILESCOPE, Run, signalled
from PIL import Image
from rtsp_camera import RtspCamera
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.instruments.live_sources import SourceOptions, opened_source
from mobilescope.app.pictures.picture_notes import read_note, read_record
from mobilescope.core.errors import InputFileError
from mobilescope.enhance.provenance import ModelIdentity, digest_picture
from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.twin.firmware_port import FirmwarePort
from mobilescope.twin.ring_firmware import RingFirmware

PICTURES = 7
INSTRUMENT = """\
[twin]
seed = 3

[twin.phone]
bayer_rows = 160
bayer_columns = 192

[twin.slides.mine]
specimen = "h&e"
"""


def write_model(path, **shape):
    network = EnhancementNetwork(NetworkConfig(first_width=8, blocks=1, growth=2, **shape))
    network.initialise(0)
    save_model(path, network, ModelCard(network.config, 0.925, 0.37, "a test", "phone"))


@pytest.fixture
def folder(tmp_path):
    """A folder with a model, an instrument, and a folder of pictures."""
    write_model(tmp_path / "model.pt")
    (tmp_path / "instrument.toml").write_text(INSTRUMENT)
    (tmp_path / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        picture = generator.integers(60, 180, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), picture)
    return tmp_path


def live(folder, *arguments, headless=True):
    """Run the command without a display, or with this process's."""
    environment = {name: value for name, value in ENVIRONMENT.items() if not (headless and "DISPLAY" in name)}
    done = subprocess.run(
        [MOBILESCOPE, "live", *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def test_the_twin_runs_for_as_long_as_asked_and_sums_up(folder):
    run = live(folder, "model.pt", "--source", "twin", "--fps", 5, "--seconds", 2, "--json")
    result = run.json()
    assert result["source"] == "digital twin (slide 'mine', 20 frames/s)"
    assert result["frames"] > 0
    assert result["seconds"] >= 2
    assert result["fps"] == pytest.approx(result["frames"] / result["seconds"], rel=0.01)
    assert set(result["delay_ms"]) == {"capture", "wait", "enhance", "show", "total"}
    for delay in result["delay_ms"].values():
        assert 0 <= delay["median"] <= delay["p95"]
    assert result["rung"] in ("full", "colour")
    assert set(result["rungs"]) <= {"full", "colour"}
    assert result["state"] == "stopped"
    # This model has no statistics, so nothing it makes can be called trusted.
    assert result["trust"]["state"] in ("caution", "not for use")
    assert result["trust"]["reasons"]
    assert "no window: there is no display" in run.errors


def test_a_folder_is_shown_picture_by_picture_and_ends(folder):
    arguments = ("--fast", "--no-window", "--rung", "full", "--json")
    result = live(folder, "model.pt", "--source", "pictures", *arguments).json()
    assert (result["frames"], result["dropped"], result["state"]) == (PICTURES, 0, "ended")
    assert (result["rung"], result["reason"]) == ("full", "asked for")
    assert result["source"] == f"folder pictures ({PICTURES} pictures)"


def test_a_video_in_a_loop_stops_after_the_frames_asked_for_and_is_recorded(folder):
    writer = cv2.VideoWriter(str(folder / "v.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 50, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    arguments = ("--fast", "--loop", "--frames", 12, "--region", "8,8,20,30", "--rung", "region", "--record", "kept",
                 "--pixel-size-um", 0.9)
    result = live(folder, "model.pt", "--source", "v.avi", *arguments, "--no-window", "--json").json()
    assert (result["frames"], result["rung"]) == (12, "region")
    assert result["recorded"] >= 1
    pairs = sorted((folder / "kept").iterdir())
    assert len(pairs) == 2 * result["recorded"]
    enhanced, given = (cv2.imread(str(path)) for path in pairs[:2])
    assert pairs[0].name.endswith("-enhanced.png")
    assert (enhanced.shape, given.shape) == ((50, 75, 3), (20, 30, 3))
    for path, pixel_um in zip(pairs, (0.36, 0.9), strict=False):
        with Image.open(path) as picture:
            assert 25_400 / picture.info["dpi"][0] == pytest.approx(pixel_um, rel=1e-3)
    record = read_record(pairs[0])
    assert record["model_sha256"] == ModelIdentity.of_file(folder / "model.pt").file_sha256
    assert record["input_sha256"] == digest_picture(given[..., ::-1])
    assert (record["settings"]["rung"], record["settings"]["region"]) == ("region", "8,8,20,30")
    assert record["trust"]["state"] in ("caution", "not for use")
    assert read_note(pairs[1]) is None


def test_what_the_small_network_made_is_recorded_as_its_own(folder):
    write_model(folder / "small.pt", shuffle=5, stride=2)
    arguments = ("--fast-model", "small.pt", "--rung", "distilled", "--record", "kept", "--fast", "--no-window")
    live(folder, "model.pt", "--source", "pictures", *arguments, "--json").json()
    record = read_record(next((folder / "kept").glob("*-enhanced.png")))
    assert record["model_sha256"] == ModelIdentity.of_file(folder / "small.pt").file_sha256
    assert record["settings"]["rung"] == "distilled"


def test_int8_measures_on_the_pictures_given(folder):
    pictures = folder / "calibration"
    pictures.mkdir()
    generator = np.random.default_rng(1)
    cv2.imwrite(str(pictures / "one.png"), generator.integers(60, 180, (96, 96, 3), dtype=np.uint8))
    arguments = ("--precision", "int8", "--calibration", "calibration", "--rung", "full", "--fast", "--no-window")
    result = live(folder, "model.pt", "--source", "pictures", *arguments, "--json").json()
    assert result["frames"] == PICTURES
    assert "int8" in result["engine"]


def test_the_small_network_runs_on_its_rung(folder):
    write_model(folder / "small.pt")
    arguments = ("--fast", "--rung", "distilled", "--fast-model", "small.pt", "--no-window", "--json")
    assert live(folder, "model.pt", "--source", "pictures", *arguments).json()["rung"] == "distilled"


def test_a_network_cameras_stream_is_enhanced_and_its_password_is_in_no_word_of_it(folder):
    with RtspCamera(shape=(48, 64), password="lab:s3cret") as camera:
        url = camera.url.replace("//", "//lab:s3cret@")
        run = live(folder, "model.pt", "--source", url, "--frames", 5, "--rung", "full", "--no-window", "--json")
        assert run.json()["frames"] == 5
        assert run.json()["source"] == f"camera {camera.url}"
        assert "s3cret" not in run.output + run.errors


def recording(folder, kept, spoil, *arguments):
    """Run in a loop until recording has stopped and a little on, then press Ctrl-C; ``spoil`` once a pair is there."""
    process = subprocess.Popen(
        [MOBILESCOPE, "live", "model.pt", "--source", "pictures", "--loop", "--fps", "20", "--record", kept,
         "--no-window", "--json", *arguments],
        cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    while not list(kept.glob("*-enhanced.png")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    spoil()
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("RECORDING HAS STOPPED"):
            break
    for _ in range(2):  # lines of the status, every two seconds: the picture goes on
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, rest = process.communicate()
    return Run(process.returncode, output, said + rest)


def assert_goes_on_without(run, kept, why):
    """Check a run that went on after its recording had stopped; each pair in the folder is whole."""
    assert run.status == 1, run.errors
    assert run.errors.count("RECORDING HAS STOPPED: ") == 1
    result = json.loads(run.output)
    assert why in result["recording_stopped"]
    assert f"RECORDING HAS STOPPED: {result['recording_stopped']}" in run.errors
    assert f"{result['recorded']} pairs of pictures, then recording stopped: " in run.errors
    assert "frames/s enhanced" in run.errors.partition("RECORDING HAS STOPPED")[2]
    assert result["state"] == "stopped"
    there = sorted(path.name for path in kept.iterdir())
    assert len(there) == 2 * result["recorded"] >= 2
    assert [name.replace("-enhanced", "-input") for name in there[::2]] == there[1::2]
    for path in kept.iterdir():
        assert cv2.imread(str(path)).shape in ((48, 64, 3), (120, 160, 3), (300, 400, 3), (750, 1000, 3))


def test_a_full_disk_ends_the_recording_and_not_the_picture(folder, small_disk):
    generator = np.random.default_rng(1)
    for number in range(1, PICTURES):
        picture = generator.integers(60, 180, (300, 400, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), picture)
    kept = small_disk / "kept"
    assert_goes_on_without(recording(folder, kept, lambda: None), kept, "is full; free some space")


def test_a_folder_that_is_moved_away_ends_the_recording_and_not_the_picture(folder):
    kept, moved = folder / "kept", folder / "moved"
    run = recording(folder, kept, lambda: kept.rename(moved))
    assert_goes_on_without(run, moved, "was removed, or its disk was")
    assert not kept.exists()


def test_a_recording_that_held_says_so(folder):
    arguments = ("--record", "kept", "--fast", "--no-window", "--json")
    assert live(folder, "model.pt", "--source", "pictures", *arguments).json()["recording_stopped"] is None
    assert live(folder, "model.pt", "--source", "pictures", *arguments[2:]).json()["recording_stopped"] is None


def test_ctrl_c_ends_it_with_the_summary(folder):
    arguments = ("live", "model.pt", "--source", "twin", "--fps", "20", "--no-window", "--json")
    run = signalled(*arguments, folder=folder, after="engine: ", number=signal.SIGINT)
    assert run.status == 0, run.errors
    assert "Traceback" not in run.errors
    assert json.loads(run.output)["state"] == "stopped"


def test_a_log_whose_disk_is_full_does_not_end_the_picture(folder):
    arguments = ("live", "model.pt", "--source", "pictures", "--loop", "--fps", "20", "--seconds", "5", "--no-window")
    with Path("/dev/full").open("w") as log:
        done = subprocess.run(
            [MOBILESCOPE, *arguments, "--json"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log,
            check=False,
        )
    assert done.returncode == 0
    assert json.loads(done.stdout)["state"] == "stopped"


def test_the_demos_model_is_taken_where_none_is_given(folder):
    run = live(folder, "--no-window")
    assert run.status == 2
    assert "there is no demo/model.pt" in run.errors
    assert "mobilescope demo" in run.errors
    (folder / "demo").mkdir()
    write_model(folder / "demo" / "model.pt")
    (folder / "demo" / "instrument.toml").write_text(INSTRUMENT.replace("mine", "theirs"))
    result = live(folder, "--frames", 1, "--rung", "full", "--no-window", "--json").json()
    assert "theirs" in result["source"]


def test_the_twin_can_look_at_another_slide_or_stain(folder):
    result = live(folder, "model.pt", "--source", "twin:usaf", "--frames", 1, "--no-window", "--json").json()
    assert "usaf" in result["source"]
    run = live(folder, "model.pt", "--source", "twin:nothing", "--no-window")
    assert run.status == 2
    assert "no slide 'nothing'" in run.errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pt"], "no model file nowhere.pt"),
        (["model.pt", "--source", "nowhere.mp4"], "no source 'nowhere.mp4'"),
        (["model.pt", "--source", "pictures/0.png"], "single picture"),
        (["model.pt", "--source", "camera:63"], "camera 63 can't be opened"),
        (["model.pt", "--source", "http://127.0.0.1:9/video"], "can't be opened: nothing listens at 127.0.0.1:9"),
        (["model.pt", "--source", "rtsp://a:b@127.0.0.1:9/live"], "rtsp://127.0.0.1:9/live can't be opened: nothing"),
        (["model.pt", "--source", "model.pt"], "not a video"),
        (["model.pt", "--source", "pictures", "--region", "0,0,5"], "no region"),
        (["model.pt", "--source", "pictures", "--region", "40,0,20,20"], "leaves the picture"),
        (["model.pt", "--source", "pictures", "--rung", "best"], "no rung 'best'"),
        (["model.pt", "--source", "pictures", "--rung", "distilled"], "--fast-model"),
        (["model.pt", "--source", "pictures", "--fast-model", "twice.pt"], "enlarges 2 times"),
        (["model.pt", "--source", "pictures", "--precision", "int8"], "--calibration"),
        (["model.pt", "--source", "pictures", "--calibration", "pictures"], "for int8 alone"),
        (["model.pt", "--source", "pictures", "--precision", "fp8"], "no precision 'fp8'"),
        (["model.pt", "--source", "pictures", "--record", "model.pt/kept"], "model.pt/kept"),
        (["model.pt", "--source", "twin", "--fast"], "its own pace"),
        (["model.pt", "--source", "camera:0", "--loop"], "its own pace"),
        (["model.pt", "--source", "damaged"], "damaged/1.png"),
    ],
)
def test_a_mistake_is_one_line(folder, monkeypatch, arguments, words):
    write_model(folder / "twice.pt", shuffle=4, stride=2)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "0.png").write_bytes((folder / "pictures" / "0.png").read_bytes())
    (folder / "damaged" / "1.png").write_bytes(b"nothing")
    monkeypatch.chdir(folder)
    run = CliRunner().invoke(app, ["live", *arguments, "--no-window"])
    assert run.exit_code == 2, run.output
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]


def test_a_real_ring_lights_a_cameras_slide_and_is_dark_again_whatever_happens(folder):
    firmware = RingFirmware()
    with FirmwarePort(firmware) as served:
        (folder / "ring.toml").write_text(f'[ring]\nkind = "serial"\nport = "{served.port}"\n')
        options = SourceOptions(str(folder / "pictures"), instrument=folder / "ring.toml")
        with pytest.raises(KeyError, match="broken"), opened_source(options) as source:  # noqa: PT012 - the light inside
            assert source.read().pixels.shape == (48, 64, 3)
            assert set(firmware.shows[-1].pixels) == {(255, 255, 255)}
            raise KeyError("broken")
        assert set(firmware.shows[-1].pixels) == {(0, 0, 0)}


def test_the_ring_stays_dark_where_the_source_is_none(folder):
    firmware = RingFirmware()
    with FirmwarePort(firmware) as served:
        (folder / "ring.toml").write_text(f'[ring]\nkind = "serial"\nport = "{served.port}"\n')
        options = SourceOptions(str(folder / "nowhere"), instrument=folder / "ring.toml")
        with pytest.raises(InputFileError, match="no source"), opened_source(options):
            pass
        assert all(set(show.pixels) == {(0, 0, 0)} for show in firmware.shows)
