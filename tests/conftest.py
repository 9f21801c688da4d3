"""A twin over a stage in software, stages with simulated boards, and small files of pairs."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from served_stage import FaultyLine, Served, make_board, open_stage, stage_config
from software_instruments import SoftwareRing, SoftwareStage
from threadpoolctl import threadpool_limits

from mobilescope.core.config import BenchtopConfig
from mobilescope.data.pair_writer import PairWriter
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.firmware_port import FirmwarePort
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

# A run started in the background ignores Ctrl-C, and so would the programs that tests stop with it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As the command line does; a plugin of pytest has brought numpy along before.
threadpool_limits(1, user_api="blas")

# What was tuned on this machine must not decide what tests see. The folder goes when the tests end.
_CACHE = tempfile.TemporaryDirectory(prefix="mobilescope-cache-", ignore_cleanup_errors=True)
os.environ["MOBILESCOPE_CACHE"] = _CACHE.name

DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Twin:
    stage: SoftwareStage
    benchtop: TwinBenchtop
    phone: TwinPhone
    truth: TruthLog
    rack: SlideRack

    def surface_um(self, slide, x_um, y_um):
        return float(self.rack.slide(slide).surface.height_um(x_um, y_um))

    def focus_on(self, slide, x_um, y_um, defocus_um=0.0):
        """Mount a slide and stand a given distance above its true surface."""
        self.benchtop.mount(slide)
        self.benchtop.stage.move_xy(x_um, y_um)
        at = self.benchtop.stage.true_position()
        self.benchtop.stage.move_z(self.surface_um(slide, at.x_um, at.y_um) + defocus_um)


@pytest.fixture
def software_stage():
    """Build a stage without a device, to set limits of one's own."""
    return SoftwareStage


@pytest.fixture(scope="session")
def make_twin():
    """Build a twin: specimens by slide name, and the tables benchtop, stage, surface and phone over the defaults."""

    def make(slides=None, *, seed=1, specimen_seed=3, preset="default", device=None, frame_px=512, **tables):
        parameters = load_parameters(tables, preset=preset)
        specs = {name: SlideSpec(specimen=kind, seed=specimen_seed) for name, kind in (slides or {}).items()}
        rack, truth, stage = SlideRack(specs, parameters.surface), TruthLog(), device or SoftwareStage()
        frame = BenchtopConfig(frame_rows=frame_px, frame_columns=frame_px)
        ring = SoftwareRing()
        benchtop = TwinBenchtop(stage, rack, parameters, frame, seed=seed, truth=truth, ring=ring)
        phone = TwinPhone(rack, parameters, seed=seed, truth=truth, illuminator=ring)
        return Twin(stage, benchtop, phone, truth, rack)

    return make


@pytest.fixture
def served_stage():
    """Build stages of a kind, each with its simulated board behind a pseudo-terminal."""
    served = []

    def make(kind, *, play_um=(0.0, 0.0, 0.0), backlash_um=None, config=None, **changes):
        mirrored = {"reversed": changes.pop("reversed")} if "reversed" in changes else {}
        line = FaultyLine(make_board(kind, play_um=play_um, **changes))
        port = FirmwarePort(line)
        port.plug()
        play = play_um if backlash_um is None else backlash_um
        try:
            stage = open_stage(kind, port.port, stage_config(kind, play, **mirrored, **(config or {})))
        except BaseException:
            port.unplug()
            raise
        served.append(Served(stage, line.board, line, port))
        return served[-1]

    yield make
    for each in served:
        each.stage.close()
        each.port.unplug()


@pytest.fixture
def write_pairs(tmp_path):
    """Write a file of small pairs, one for each (slide, role) or (slide, role, options), with a learnable label.

    Further keywords change the provenance.
    """

    def write(*members, name="job.pairs.h5", seed=0, size=48, warp="phone", factor=2.5, **provenance):
        path = tmp_path / name
        provenance = {
            "label_pixel_um": 0.37, "input_pixel_um": 0.37 * factor, "factor": factor, "warp": warp,
            "input": "raw", "jpeg_ratio": None, "instrument": "a twin", "phone_half_pitch_um": 0.87,
            "stains": {slide: "blood" for slide, *_ in members}, "session": "job.h5", "session_digest": "ab" * 32,
        } | provenance
        with PairWriter(path, provenance) as writer:
            for number, (slide, role, *options) in enumerate(members):
                pixels, label = _pair(seed + number, size, factor)
                fields = {
                    "slide": slide, "role": role, "capture": number, "row": 0, "column": 0, "accepted": True,
                    "reason": "", "quality": {}, "warp": warp, "origin_px": (0.0, 0.0), "window": None,
                } | (options[0] if options else {})
                writer.add(pixels, label, **fields)
        return path

    return write


def _pair(seed, size, factor):
    """Return a smooth random picture on 16 bit, and the same ``factor`` times finer in other colours on 8 bit."""
    generator = np.random.default_rng(seed)
    frequency, phase = generator.uniform(1, 5, (2, 3)), generator.uniform(0, 6, (2, 3))

    def picture(count):
        place = (np.arange(count) + 0.5)[:, None] / count
        down, across = (np.sin(np.pi * frequency[axis] * place + phase[axis]) for axis in (0, 1))
        return 0.5 + 0.3 * down[:, None] * across[None]

    low, high = picture(size), picture(round(size * factor))
    return np.round(low * 65535).astype(np.uint16), np.round(255 * (0.15 + 0.7 * high[..., ::-1])).astype(np.uint8)


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 2 MB; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def data():
    """The folder of real images; tests that need it are skipped where it is not there."""
    if not DATA.is_dir():
        pytest.skip(f"no folder {DATA}")
    return DATA


@pytest.fixture
def one_thread():
    """Let torch compute on one thread, so that results repeat to the bit and tests share the machine."""
    import torch  # most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
