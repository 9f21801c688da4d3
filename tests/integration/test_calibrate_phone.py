"""`mobilescope calibrate phone`: the twin's lens found in a session's pairs, and used by the commands that take it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from small_models import save_small_model
from twin_sessions import stitched_session
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.pairs.distortion import load_distortion
from mobilescope.app.pairs.pairing import register_session
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.images import write_rgb
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import InputFileError
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan

SLIDE = "smear"
SIDE_PX = 192
PLAN = JobPlan(slides=(
    SlidePlan(
        name=SLIDE, role="training", stain="Giemsa", scan=GridPlan(rows=2, columns=2, overlap=0.1),
        capture=GridPlan(rows=2, columns=2, overlap=0.1),
    ),
))


@pytest.fixture(scope="module")
def twin(make_twin):
    return make_twin(
        {SLIDE: "blood"}, frame_px=512,
        phone={"bayer_rows": 2 * SIDE_PX, "bayer_columns": 2 * SIDE_PX, "rotation_deg": 3.0, "barrel": -0.03},
    )


@pytest.fixture(scope="module")
def session(twin, tmp_path_factory):
    """A session of four fields, registered."""
    path = stitched_session(tmp_path_factory.mktemp("distortion") / "run.h5", twin, PLAN)
    register_session(path, workers=1)
    return path


@pytest.fixture(scope="module")
def lens(twin):
    """The lens's true distortion in phone pixels, without position, rotation and scale."""
    looked = twin.truth.captures[0].positions_um.astype(np.float64)[..., ::-1]
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(float)
    z, w = looked[..., 0] + 1j * looked[..., 1], rows + 1j * columns
    arm = z - z.mean()
    off = w.mean() + np.vdot(arm, w - w.mean()) / np.vdot(arm, arm) * arm - w
    return np.stack([off.real, off.imag], axis=-1)


@pytest.fixture(scope="module")
def calibrated(session):
    """The distortion map made by the command, and what the command said."""
    out = session.with_name("lens.npz")
    told = CliRunner().invoke(app, ["calibrate", "phone", str(session), "--out", str(out), "--json"])
    assert told.exit_code == 0, told.output
    return out, json.loads(told.stdout)


def test_the_twins_lens_is_found(session, calibrated, lens):
    out, facts = calibrated
    with PairStore.open(session.with_name("run.pairs.h5")) as store:
        assert facts["pairs"] == sum(record.accepted for record in store.records) >= 4
    found = load_distortion(out)
    assert found.shape == (SIDE_PX, SIDE_PX)
    assert found.pixel_um == pytest.approx(0.925)
    error = np.linalg.norm(found.displacement_yx - lens, axis=-1)
    assert np.median(error) < 0.15
    assert np.median(error) < 0.3 * np.median(np.linalg.norm(lens, axis=-1))
    assert facts["inverse_error_px"] < 0.02
    with np.load(out) as stored:
        record = json.loads(str(stored["record"]))
    assert (record["session"], record["pairs"], record["slides"]) == ("run.h5", facts["pairs"], [SLIDE])


def test_pairs_of_the_other_warp_tell_the_same_and_may_start_from_the_map(session, calibrated, command, tmp_path):
    pairs, out = tmp_path / "benchtop.h5", tmp_path / "again.npz"
    assert command("register", session, "--warp", "benchtop", "--distortion", calibrated[0], "--out", pairs)[0] == 0
    assert command("calibrate", "phone", session, "--pairs", pairs, "--out", out)[0] == 0
    apart = load_distortion(out).displacement_yx - load_distortion(calibrated[0]).displacement_yx
    assert np.median(np.linalg.norm(apart, axis=-1)) < 0.1
    with PairStore.open(pairs) as store:
        assert store.provenance["distortion_pairs"] == calibrated[1]["pairs"]


@pytest.mark.parametrize("warp", ["phone", "benchtop"])
def test_crops_of_a_capture_are_one_picture_of_the_lens(session, lens, command, tmp_path, warp):
    pairs, out = tmp_path / "crops.h5", tmp_path / "crops.npz"
    options = ("--crops", "square", "--warp", warp, "--factor", 2, "--out", pairs)
    assert command("register", session, *options)[0] == 0
    status, told, _ = command("calibrate", "phone", session, "--pairs", pairs, "--out", out, "--json")
    assert status == 0
    with PairStore.open(pairs) as store:
        accepted = [record.capture for record in store.records if record.accepted]
    assert len(accepted) > json.loads(told)["pairs"] == len(set(accepted)) >= 3
    error = np.linalg.norm(load_distortion(out).displacement_yx - lens, axis=-1)
    assert np.median(error) < 0.3 * np.median(np.linalg.norm(lens, axis=-1))


def test_a_picture_is_straightened_before_it_is_enhanced_and_its_record_says_so(session, calibrated, command, tmp_path):
    model = save_small_model(tmp_path / "model.pt")
    with Session.open(session) as opened:
        picture = develop_capture(opened, opened.captures(SLIDE)[0])
    write_rgb(tmp_path / "phone.png", picture)
    write_rgb(tmp_path / "by_hand.png", load_distortion(calibrated[0]).straighten(picture))
    plain, straight, by_hand = (tmp_path / f"out-{name}.png" for name in ("plain", "straight", "by-hand"))
    enhance = ("enhance", "--device", "cpu", model, tmp_path / "phone.png")
    assert command(*enhance, plain)[0] == 0
    assert command(*enhance, straight, "--distortion", calibrated[0])[0] == 0
    assert command(*enhance[:-1], tmp_path / "by_hand.png", by_hand)[0] == 0
    one, other = (cv2.imread(str(path)) for path in (plain, straight))
    assert (one != other).mean() > 0.01
    np.testing.assert_array_equal(other, cv2.imread(str(by_hand)))
    digests = [read_record(path)["settings"]["distortion_sha256"] for path in (plain, straight)]
    assert digests[0] is None
    assert len(digests[1]) == 64
    # A picture of the model's that was straightened is another than one that was not.
    assert command(*enhance, plain, "--distortion", calibrated[0])[0] == 0
    np.testing.assert_array_equal(cv2.imread(str(plain)), other)


def test_pairs_of_another_session_are_no_pairs_of_this_one(session, command, tmp_path):
    with PairWriter(tmp_path / "other.h5", {"label_pixel_um": 0.37, "warp": "phone", "factor": 2.5}) as writer:
        writer.add(
            np.zeros((60, 60, 3), np.uint16), np.zeros((150, 150, 3), np.uint8), slide="elsewhere", role="training",
            capture=3, row=0, column=0, accepted=True, reason="", quality={}, origin_px=(0.0, 0.0), window=None,
            warp="phone",
        )
    out = tmp_path / "lens.npz"
    status, _, said = command("calibrate", "phone", session, "--pairs", tmp_path / "other.h5", "--out", out)
    assert status == 2
    assert "has a pair of capture 3 of slide 'elsewhere', which" in said
    assert not out.exists()


def test_mistakes_are_named(session, calibrated, command, tmp_path):
    status, _, said = command("calibrate", "phone", session, "--out", tmp_path / "lens.txt")
    assert status == 2
    assert "ends in .npz" in said
    status, _, said = command("calibrate", "phone", tmp_path / "nothing.h5")
    assert status == 2
    assert "nothing.h5" in said
    write_rgb(tmp_path / "other.png", np.zeros((100, 200, 3), np.uint8))
    model = save_small_model(tmp_path / "model.pt")
    status, _, said = command(
        "enhance", model, tmp_path / "other.png", tmp_path / "out.png", "--distortion", calibrated[0]
    )
    assert status == 2
    assert f"{SIDE_PX}x{SIDE_PX}" in said


def test_what_is_no_archive_is_told_without_advice_to_load_it_unsafely(tmp_path):
    path = tmp_path / "lens.npz"
    path.write_bytes(b"junk")
    with pytest.raises(InputFileError, match=r"is no distortion map: it is no \.npz file; make one"):
        load_distortion(path)
