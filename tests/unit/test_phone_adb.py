"""A phone over adb, with adbutils itself driven against a server that speaks adb's protocol."""

from __future__ import annotations

import pytest
from adb_server import CAMERA, AdbServer, Phone
from phone_files import SHAPE, dng, jpeg_bytes

from mobilescope.core.errors import DeviceError, DiskSpaceError, InputFileError, LinkLostError, OutputError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.adb_link import AdbLink, adb_phones, server_runs
from mobilescope.devices.phones.adb_pictures import AdbPictures

NOBODY = StopToken()


@pytest.fixture
def shots(tmp_path):
    """The files of a release."""

    def shoot(number):
        data = dng(tmp_path / "shot.dng", seed=number, after_s=number).read_bytes()
        return {f"PXL_{number}.dng": data, f"PXL_{number}.jpg": jpeg_bytes(seed=number, after_s=number)}

    return shoot


def source(server, *, serial=None, keep=None, patience_s=5.0, trigger="camera-key", camera_app=None, said=None):
    return AdbPictures(
        lambda: AdbLink(serial, host="127.0.0.1", port=server.port), camera_folder=CAMERA, camera_app=camera_app,
        trigger=trigger, pictures="dng+jpeg", settle_s=0.05, patience_s=patience_s, keep=keep,
        tell=[].append if said is None else said.append, app_starts_s=0.0,
    )


def taken(one):
    one.prepare()
    return one.take(NOBODY, ())


def test_phones_are_listed_with_what_to_do_about_their_state():
    phones = [Phone(), Phone("B2", state="unauthorized"), Phone("C3", state="offline")]
    with AdbServer(*phones) as server:
        found = adb_phones("127.0.0.1", server.port)
        assert [(phone.serial, phone.state, phone.model) for phone in found[:1]] == [("PHONE1", "device", "Pixel 6")]
        assert [phone.remedy.split(" ")[0] for phone in found] == ["", "unlock", "pull"]
        assert server_runs("127.0.0.1", server.port)
        port = server.port
    assert not server_runs("127.0.0.1", port)


@pytest.mark.parametrize("version", [40, 41])
def test_the_camera_is_released_and_its_new_files_are_fetched_whole(version, shots):
    phone = Phone(shoot=shots, files={f"{CAMERA}/old.dng": b"old", f"{CAMERA}/old.jpg": b"old"})
    with AdbServer(phone, version=version) as server:
        picture = taken(source(server))
    assert picture.jpeg == jpeg_bytes(seed=1, after_s=1)
    assert picture.bayer.shape == SHAPE
    assert picture.facts["checked"] == "sha256"
    assert phone.started == ["am start -W -a android.media.action.STILL_IMAGE_CAMERA"]
    assert phone.releases == 1


def test_the_app_and_the_key_can_be_chosen(shots):
    phone = Phone(shoot=shots, key="KEYCODE_VOLUME_UP")
    with AdbServer(phone) as server:
        taken(source(server, trigger="volume-key", camera_app="net.sourceforge.opencamera/.MainActivity"))
    assert phone.started[0].endswith("-n net.sourceforge.opencamera/.MainActivity")


def test_by_hand_nothing_is_pressed(shots):
    phone = Phone(shoot=shots)
    with AdbServer(phone) as server:
        one = source(server, trigger="by-hand")
        assert one.waits_for_person
        one.prepare()
        phone.run("input keyevent KEYCODE_CAMERA")
        assert one.take(NOBODY, ()).bayer is not None
    assert phone.started == []


def test_a_file_that_still_grows_on_the_phone_is_waited_for(shots):
    phone = Phone(shoot=shots)
    phone.growing[f"{CAMERA}/PXL_1.dng"] = 100
    with AdbServer(phone) as server:
        assert taken(source(server)).bayer.shape == SHAPE


def test_without_a_checksum_on_the_phone_the_size_is_checked_and_that_is_said(shots):
    with AdbServer(Phone(shoot=shots, has_sha256sum=False)) as server:
        assert taken(source(server)).facts["checked"] == "size"


def test_a_file_that_comes_otherwise_than_it_is_on_the_phone_is_not_kept(shots, tmp_path):
    with AdbServer(Phone(shoot=shots, corrupts=True)) as server, \
            pytest.raises(DeviceError, match="came otherwise than it is on the phone"):
        taken(source(server, keep=tmp_path / "keep", patience_s=2))
    assert not (tmp_path / "keep").exists()


@pytest.mark.parametrize("after", [0, 4096, 9000])
def test_a_cable_pulled_in_mid_fetch_leaves_nothing_half(after, shots, tmp_path):
    keep = tmp_path / "keep"
    with AdbServer(Phone(shoot=shots, pulled_after=after)) as server, \
            pytest.raises(LinkLostError, match=r"Pixel 6 is gone.*check its cable"):
        taken(source(server, keep=keep))
    assert not keep.exists()


def test_fetched_files_can_be_kept_under_names_of_their_own(shots, tmp_path):
    keep = tmp_path / "keep"
    phone = Phone(shoot=lambda number: {f"IMG.{kind[-3:]}": data for kind, data in shots(number).items()})
    with AdbServer(phone) as server:
        one = source(server, keep=keep)
        taken(one)
        phone.files.clear()
        taken(one)
    assert sorted(path.name for path in keep.iterdir()) == ["IMG-2.dng", "IMG-2.jpg", "IMG.dng", "IMG.jpg"]


@pytest.mark.parametrize(("phones", "said"), [
    ([], "no phone is plugged in.*USB debugging"),
    ([Phone(state="unauthorized")], "is unauthorized; unlock the phone and allow"),
    ([Phone(state="offline")], "is offline; pull the cable"),
    ([Phone(), Phone("B2")], "several phones.*PHONE1, B2.*serial"),
])
def test_a_phone_that_can_not_be_used_says_why(phones, said):
    with AdbServer(*phones) as server, pytest.raises(UserError, match=said):
        taken(source(server))


def test_a_phone_is_chosen_by_its_serial(shots):
    with AdbServer(Phone(), Phone("B2", shoot=shots)) as server:
        one = source(server, serial="B2")
        taken(one)
        assert "B2" in one.name
        with pytest.raises(UserError, match="there is no phone C3; adb lists: PHONE1, B2"):
            taken(source(server, serial="C3"))


def test_a_phone_that_sleeps_is_woken_and_one_that_does_not_wake_is_told(shots, monkeypatch):
    monkeypatch.setattr("mobilescope.devices.phones.adb_pictures._WAKES_S", 0.2)
    with AdbServer(Phone(shoot=shots, awake=False)) as server:
        assert taken(source(server)).bayer is not None
    with AdbServer(Phone(shoot=shots, awake=False, wakes=False)) as server, \
            pytest.raises(DeviceError, match=r"asleep and does not wake.*power key"):
        taken(source(server))


def test_a_locked_phone_is_told(shots):
    with AdbServer(Phone(shoot=shots, locked=True)) as server, pytest.raises(DeviceError, match=r"locked.*unlock it"):
        taken(source(server, patience_s=0.3))


def test_an_app_that_does_not_start_is_told(shots):
    with AdbServer(Phone(shoot=shots, app_starts=False)) as server, \
            pytest.raises(DeviceError, match=r"can't start its camera app.*no such activity.*camera_app"):
        taken(source(server))


def test_a_phone_that_changes_its_state_says_so(shots):
    phone = Phone(shoot=shots)
    with AdbServer(phone) as server:
        one = source(server)
        taken(one)
        phone.state = "unauthorized"
        with pytest.raises(LinkLostError, match=r"Pixel 6 is unauthorized.*unlock the phone and allow"):
            taken(one)


def test_a_folder_that_is_not_there_is_told(shots):
    with AdbServer(Phone(shoot=shots)) as server:
        link = AdbLink(None, host="127.0.0.1", port=server.port)
        with pytest.raises(UserError, match=r"no folder /sdcard/Nowhere.*camera_folder"):
            link.listing("/sdcard/Nowhere")


def test_names_that_lead_elsewhere_are_never_fetched(shots, tmp_path):
    said = []
    evil = {"x/../../../../tmp/evil.dng": b"x" * 100, "$(reboot).dng;": b"y"}
    phone = Phone(shoot=lambda number: shots(number) | evil)
    with AdbServer(phone) as server:
        taken(source(server, said=said))
        assert not any("evil" in service for service in server.heard)
    assert any("evil" in line and "left alone" in line for line in said)


def test_a_server_that_talks_nonsense_is_an_error_that_says_so(monkeypatch):
    with AdbServer(Phone()) as server:
        monkeypatch.setattr("adb_server._okay", lambda connection, _text: connection.sendall(b"HTTP/1.1 400\r\n"))
        with pytest.raises(DeviceError, match="adb's server failed"):
            adb_phones("127.0.0.1", server.port)


def test_a_full_disk_of_this_computer_is_not_taken_for_a_phone_that_is_gone(small_disk):
    with AdbServer(Phone(files={f"{CAMERA}/a.dng": bytes(3_000_000)})) as server:
        link = AdbLink(None, host="127.0.0.1", port=server.port)
        with pytest.raises(DiskSpaceError, match=r"disk of .* on this computer is full; free some space"):
            link.pull(f"{CAMERA}/a.dng", small_disk / "a.dng", 3_000_000)
        with pytest.raises(OutputError, match="can't be written: No such file"):
            link.pull(f"{CAMERA}/a.dng", small_disk / "nowhere" / "a.dng", 3_000_000)
    assert list(small_disk.iterdir()) == []


def test_a_fetch_that_comes_short_is_removed(shots, tmp_path):
    with AdbServer(Phone(shoot=shots, files={f"{CAMERA}/a.dng": b"12345"})) as server:
        link = AdbLink(None, host="127.0.0.1", port=server.port)
        with pytest.raises(DeviceError, match="5 of 9 bytes"):
            link.pull(f"{CAMERA}/a.dng", tmp_path / "a.dng", 9)
        with pytest.raises((DeviceError, InputFileError), match="No such file"):
            link.pull(f"{CAMERA}/none.dng", tmp_path / "a.dng", 9)
    assert list(tmp_path.glob("a.dng")) == []
