"""How fast the phone's page is: preview, round trip, stills, in a real Chromium with a camera that is not there.

Run ``python tests/benchmarks/bench_phone_page.py [--json] [--seconds S] [--stills N]``. The preview is a blood smear of
the twin with noise of its own in every frame, 1280x720 at 30 frames/s, that Chromium plays as its camera; browser and
server share the machine and talk over the loopback. The round trip is from the page's having a frame until it hears
that the server has decoded it. Peers are ways to do the same in the same run: JPEG instead of H.264, and the
WebSocket's own compression, as servers have it switched on unless told otherwise. A still is timed from the
computer's asking for it until it is synced to the disk; the camera for that is Chromium's own pattern, at 3840x2160.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import uvicorn
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from phone_page_parts import ARGUMENTS, PHONE, launched, serving

SIZE = (720, 1280)
FPS_TARGET, TRIP_TARGET_MS, STILL_TARGET_S = 25.0, 60.0, 1.5
WARM_UP_S = 2.0
SENT_SIZE = (3000, 4000)
PLAIN = uvicorn.Config


def specimen(size: tuple[int, int]) -> np.ndarray:
    """Return a field of the twin's blood smear, (rows, columns, 3), uint8."""
    from mobilescope.core.geometry import PixelGrid, RegionUm
    from mobilescope.twin.parameters import load_parameters
    from mobilescope.twin.slides import SlideRack, SlideSpec

    slide = SlideRack({"a": SlideSpec(specimen="blood", seed=1004)}, load_parameters({}).surface).slide("a")
    grid = PixelGrid.over(RegionUm.centred(0, 0, 0.9 * size[1], 0.9 * size[0]), 0.9)
    light = np.clip(slide.specimen.transmittance(grid), 0, 1) ** (1 / 2.2)
    return cv2.resize(np.round(255 * light).astype(np.uint8), size[::-1])


def write_camera(path: Path, frames: int = 30) -> Path:
    """Write what Chromium plays as its camera: JPEG pictures one after the other."""
    field, noise = specimen(SIZE).astype(np.int16), np.random.default_rng(0)
    with path.open("wb") as stream:
        for _ in range(frames):
            picture = np.clip(field + np.round(noise.normal(0, 3, field.shape)), 0, 255).astype(np.uint8)
            _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            stream.write(data.tobytes())
    return path


@contextmanager
def page_of(camera: Path | None, *, query: str = "", deflate: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield a served page's server and the page itself, paired and running."""

    def config(*given: Any, **options: Any) -> uvicorn.Config:
        return PLAIN(*given, **{**options, "ws_per_message_deflate": deflate})

    arguments = [*ARGUMENTS, *([] if camera is None else [f"--use-file-for-fake-video-capture={camera}"])]
    with (
        tempfile.TemporaryDirectory() as folder, mock.patch.object(uvicorn, "Config", config),
        serving(Path(folder)) as server, sync_playwright() as playwright,
    ):
        browser = launched(playwright, arguments)
        page = browser.new_context(**PHONE).new_page()
        page.goto(f"http://localhost:{server.port}/{query}#{server.hub.desk.new_code()}")
        while not page.evaluate("window.mobilescope?.state.camera"):
            page.wait_for_timeout(50)
        yield server, page
        browser.close()


def preview(camera: Path, seconds: float, *, query: str = "", deflate: bool = False) -> dict[str, float]:
    """Return the preview's rate as decoded by the server, and its round trip as the page measures it."""
    with page_of(camera, query=query, deflate=deflate) as (server, page):
        page.wait_for_timeout(1000 * WARM_UP_S)
        page.evaluate("mobilescope.preview.trips.length = 0")
        before, begun_s = server.hub.snapshot().pictures, time.monotonic()
        trips: list[float] = []
        while time.monotonic() - begun_s < seconds:
            page.wait_for_timeout(1000)
            trips += page.evaluate("mobilescope.preview.trips.splice(0)")
        took_s, after = time.monotonic() - begun_s, server.hub.snapshot()
        camera_said = after.camera
        assert camera_said is not None
        assert (camera_said.height, camera_said.width) == SIZE
        return {
            "fps": (after.pictures - before) / took_s, "trip_ms": statistics.median(trips),
            "trip_p95_ms": float(np.percentile(trips, 95)),
        }


def waiting(page: Any, work: Callable[[], Any]) -> Any:
    """Do in another thread what waits for the page, while this one lets it run."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not future.done():
            page.wait_for_timeout(5)
        return future.result()


def stills(count: int) -> dict[str, Any]:
    """Return how long stills take, one by one, while the preview runs."""
    with page_of(None) as (server, page):
        took_s, size = [], (0, 0)
        for _ in range(count):
            begun_s = time.monotonic()
            still = waiting(page, server.hub.shutter.take)
            took_s.append(time.monotonic() - begun_s)
            size = still.width, still.height
            assert size == tuple(page.evaluate("[mobilescope.lens.plan.width, mobilescope.lens.plan.height]"))
        return {"size": size, "median_s": statistics.median(took_s), "worst_s": max(took_s)}


def sending(count: int) -> dict[str, Any]:
    """Return how long a 12-Mpx JPEG takes from the phone's memory through its storage to the disk, acknowledged."""
    noise, field = np.random.default_rng(1), cv2.resize(specimen(SIZE), SENT_SIZE[::-1]).astype(np.int16)
    with page_of(None) as (server, page):
        took_s, sizes = [], []
        for _ in range(count):
            picture = np.clip(field + np.round(noise.normal(0, 5, field.shape)), 0, 255).astype(np.uint8)
            _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            sizes.append(len(data) / 1e6)
            saved = threading.Event()
            server.hub.on_still(lambda _still, saved=saved: saved.set())
            page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data.tobytes()})
            while not page.evaluate("mobilescope.state.waiting === 0") or not saved.is_set():
                page.wait_for_timeout(5)
            took_s.append(page.evaluate("mobilescope.outbox.lastMs") / 1000)
        return {"megabytes": statistics.median(sizes), "median_s": statistics.median(took_s), "worst_s": max(took_s)}


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--stills", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.mjpeg")
        ways = {
            "H.264 (the page's way)": {},
            "H.264, compressed again": {"deflate": True},
            "JPEG": {"query": "?preview=jpeg"},
            "JPEG, compressed again": {"query": "?preview=jpeg", "deflate": True},
        }
        result: dict[str, Any] = {"preview": {}}
        for name, way in ways.items():
            result["preview"][name] = row = preview(camera, options.seconds, **way)
            print(
                f"{name:<24} {row['fps']:5.1f} frames/s, round trip {row['trip_ms']:5.1f} ms "
                f"(95 %: {row['trip_p95_ms']:.1f})", flush=True,
            )
    result["still"] = still = stills(options.stills)
    size = "{}x{}".format(*still["size"])
    print(f"still {size}: {still['median_s']:.2f} s, worst {still['worst_s']:.2f} s", flush=True)
    result["sending"] = sent = sending(options.stills)
    print(f"JPEG of {sent['megabytes']:.1f} MB sent, synced: {sent['median_s']:.2f} s, worst {sent['worst_s']:.2f} s")
    ours = result["preview"]["H.264 (the page's way)"]
    reached = ours["fps"] >= FPS_TARGET and ours["trip_ms"] <= TRIP_TARGET_MS and still["worst_s"] <= STILL_TARGET_S
    print(
        f"targets: {FPS_TARGET:.0f} frames/s, {TRIP_TARGET_MS:.0f} ms, {STILL_TARGET_S:g} s: "
        f"{'reached' if reached else 'MISSED'}"
    )
    if options.json:
        print(json.dumps(result | {"reached": reached}))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
