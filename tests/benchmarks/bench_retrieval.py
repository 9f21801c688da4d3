"""A phone field found in a 25K×25K mosaic without a position, beside plain SIFT + FLANN + RANSAC.

Run ``python tests/benchmarks/bench_retrieval.py [--quick] [--folder FOLDER] [--peer-fields 20]``.
Three stains of the twin's slides, and real tissue laid into the H&E slide. Fields are the twin phone's captures (its
colours, lens, focus errors and noise; every second one its JPEG), turned by any angle, with a pixel size told wrongly
by up to a quarter. Blank fields are of clear glass, foreign ones of other slides of the same stains. The search reads
levels 2 and 3 alone, so slides are rendered at the pitch of level 2 and each pixel stands for 4×4.
Targets: at most 5 s, at least 99 % right of 300 fields, none of the blank and foreign ones found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

STAINS = ("blood", "h&e", "trichrome")
PIXEL_UM, LEVEL = 0.37, 2
RENDERED_UM = PIXEL_UM * 2**LEVEL
BAND_PX = 128
REACH_UM = 250.0
NEAR_UM = 10.0
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = {
    "wsi/cmu1_small_region.svs": None, "he_monuseg_train/mr_18-5592.tif": 0.25, "he_monuseg_train/mr_38-6178.tif": 0.25,
    "he_monuseg_train/mr_49-4488.tif": 0.25, "he_monuseg_train/mr_A7-A13E.tif": 0.25,
    "he_monuseg_train/mr_AR-A1AS.tif": 0.25, "he_monuseg_train/mr_AY-A8YK.tif": 0.25,
    "he_monuseg_train/mr_B0-5710.tif": 0.25,
}
PEER_RATIO, PEER_INLIERS = 0.8, 10
INDEXING = """
import json, resource, sys, time
from pathlib import Path
from mobilescope.app.pairs.finding import MosaicFinder
begun = time.perf_counter()
with MosaicFinder.open(Path(sys.argv[1])) as finder:
    landmarks = len(finder.index.landmarks)
made = time.perf_counter() - begun
begun = time.perf_counter()
MosaicFinder.open(Path(sys.argv[1])).close()
print(json.dumps({"made_s": made, "opened_s": time.perf_counter() - begun, "landmarks": landmarks,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


class Patchwork:
    """A specimen with pictures laid over it, each once."""

    def __init__(self, base, patches):
        self.base, self.patches, self.extent, self.name = base, patches, None, "patchwork"

    def transmittance(self, grid):
        from mobilescope.core.geometry import PixelGrid

        light = self.base.transmittance(grid)
        for picture, (x_um, y_um) in self.patches:
            moved = PixelGrid(grid.x_um - x_um, grid.y_um - y_um, grid.pixel_size_um, grid.rows, grid.columns)
            extent = picture.extent
            rows = inside(moved.y_coordinates_um(), extent.y_um, extent.bottom_um)
            columns = inside(moved.x_coordinates_um(), extent.x_um, extent.right_um)
            if rows is not None and columns is not None:
                part = PixelGrid(
                    moved.x_um + columns.start * moved.pixel_size_um, moved.y_um + rows.start * moved.pixel_size_um,
                    moved.pixel_size_um, rows.stop - rows.start, columns.stop - columns.start,
                )
                light[rows, columns] = picture.transmittance(part)
        return light

    def objects(self, region):
        return self.base.objects(region)


def inside(places, low, high):
    """Return the slice of sorted places between two bounds, None where there are none."""
    first, end = np.searchsorted(places, [low, high])
    return slice(int(first), int(end)) if first < end else None


@dataclass(frozen=True)
class Rack:
    """Slides under the twin: each stain, another of it for foreign fields, and clear glass."""

    specimens: dict

    def slide(self, name):
        from mobilescope.twin.parameters import load_parameters
        from mobilescope.twin.slides import Slide
        from mobilescope.twin.surface import Surface

        return Slide(self.specimens[name], Surface.drawn(load_parameters({}).surface, 1))


class White:
    """A light that is on."""

    def state(self):
        from mobilescope.core.protocols import LightState

        return LightState(True, 255, 255, 255, 1.0, source="bench")


def make_rack(side_um):
    """Return the rack, and what part of the H&E slide is real."""
    from mobilescope.core.geometry import RegionUm
    from mobilescope.twin.slides import SlideSpec, build_specimen
    from mobilescope.twin.specimens.image import ImageSpecimen

    specimens = {"blank": build_specimen(SlideSpec(specimen="blank"))}
    for stain in STAINS:
        specimens[stain] = build_specimen(SlideSpec(specimen=stain, seed=3))
        specimens[f"other {stain}"] = build_specimen(SlideSpec(specimen=stain, seed=77))
    patches, regions, x_um = [], [], 200.0
    for name, pitch_um in REAL.items():
        if SHARED.is_dir() and x_um + 1600 < side_um:
            picture = ImageSpecimen(SHARED / name, pitch_um)
            centre = x_um + picture.extent.width_um / 2, 200 + picture.extent.height_um / 2
            patches.append((picture, centre))
            regions.append(RegionUm.centred(*centre, picture.extent.width_um, picture.extent.height_um))
            x_um += picture.extent.width_um
    specimens["h&e"] = Patchwork(specimens["h&e"], patches)
    return Rack(specimens), regions


def write_mosaic(session, stain, specimen, side_px):
    """Render a slide and write its mosaic in bands."""
    from mobilescope.core.geometry import PixelGrid
    from mobilescope.data.mosaics import MosaicWriter
    from mobilescope.imaging.colour import encode_8bit
    from mobilescope.twin.parameters import load_parameters

    lamp = np.array(load_parameters({}).benchtop.lamp, dtype=np.float32)
    times, rendered_px = 2**LEVEL, side_px // 2**LEVEL
    origin_um = -(times - 1) / 2 * PIXEL_UM
    name = stain.replace("&", "")
    with MosaicWriter(session, name, (side_px, side_px), PIXEL_UM, (origin_um, origin_um), {}, []) as writer:
        for row in range(0, rendered_px, BAND_PX):
            rows = min(BAND_PX, rendered_px - row)
            grid = PixelGrid(0, row * RENDERED_UM, RENDERED_UM, rows, rendered_px)
            band = encode_8bit(specimen.transmittance(grid) * lamp)
            whole = np.repeat(np.repeat(band, times, axis=0), times, axis=1)
            writer.write_band(whole, np.ones(whole.shape[:2], bool))


class Phone:
    """The twin's phone, laid at any angle, and where its pictures truly lie."""

    def __init__(self, rack, seed):
        from mobilescope.twin.parameters import load_parameters
        from mobilescope.twin.phone import TwinPhone
        from mobilescope.twin.truth import TruthLog

        self.rack, self._truth = rack, TruthLog()
        self._phone = TwinPhone(rack, load_parameters({}), seed=seed, truth=self._truth, illuminator=White())
        self._taken = 0

    def take(self, slide, place, angle_deg):
        """Return the picture, its true pixel size and the place of its middle."""
        from mobilescope.app.pictures.developing import develop_fresh

        self._phone.mount(slide)
        self._phone._rotation_deg = angle_deg
        capture = self._phone.capture(*place)
        where = self._truth.captures.pop().positions_um
        self._taken += 1
        picture = develop_fresh(capture if self._taken % 2 else replace(capture, bayer=None))
        middle = np.array(where.shape[:2]) // 2
        return np.ascontiguousarray(picture), 2 * capture.bayer_pixel_um, where[tuple(middle)], middle[::-1]


def real_place(specimen, region, rng):
    """Return a place in a picture where at least a quarter of a field is specimen rather than bare glass."""
    from mobilescope.core.geometry import PixelGrid, RegionUm

    low, high = np.array([region.x_um, region.y_um]), np.array([region.right_um, region.bottom_um])
    room = np.minimum(118.0, (high - low) / 2)
    while True:
        place = rng.uniform(low + room, high - room + 1e-6)
        light = specimen.transmittance(PixelGrid.over(RegionUm.centred(*place, 236, 236), 2.0))[..., 1]
        if (light < 0.75 * np.percentile(light, 99)).mean() > 0.25:
            return place


@dataclass(frozen=True)
class Field:
    kind: str
    picture: np.ndarray
    pixel_um: float
    true_um: np.ndarray | None
    middle_px: np.ndarray


def fields_of(phone, stain, side_um, regions, counts, rng):
    """Yield the fields of a stain: with specimen, of real tissue, foreign and blank ones."""
    wanted = [(stain, stain, None)] * counts["fields"] + [("foreign", f"other {stain}", None)] * counts["foreign"]
    wanted += [("blank", "blank", None)] * counts["blank"]
    if stain == "h&e":
        wanted += [("real H&E", stain, regions[each % len(regions)]) for each in range(counts["real"]) if regions]
    lowest = max((region.bottom_um for region in regions), default=0.0) if stain == "h&e" else 0.0
    for kind, slide, region in wanted:
        if region is None:
            place = rng.uniform((REACH_UM, lowest + REACH_UM), (side_um - REACH_UM,) * 2)
        else:
            place = real_place(phone.rack.slide(slide).specimen, region, rng)
        picture, pixel_um, true_um, middle = phone.take(slide, place, rng.uniform(-180, 180))
        told_um = pixel_um * float(np.exp(rng.uniform(-1, 1) * np.log(1.25)))
        yield Field(kind, picture, told_um, true_um if kind not in ("foreign", "blank") else None, middle)


def outcome(field, place_um):
    """Return what an answer is worth."""
    if place_um is None:
        return "not found"
    if field.true_um is None:
        return "wrong"
    return "right" if np.hypot(*(place_um - field.true_um)) <= NEAR_UM else "wrong"


class Peer:
    """SIFT of a whole level, FLANN's k-d trees, the ratio test and a RANSAC homography."""

    def __init__(self, mosaic_path):
        from mobilescope.data.mosaics import Mosaic

        begun_s = time.perf_counter()
        with Mosaic.open_file(mosaic_path) as mosaic:
            self._grid = mosaic.grid(min(3, mosaic.levels - 1))
            pixels = mosaic.read(0, 0, self._grid.rows, self._grid.columns, min(3, mosaic.levels - 1))
        self._sift = cv2.SIFT.create()
        self._points, known = self._detect(pixels)
        self._matcher = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 5}, {"checks": 50})
        self._matcher.add([known])
        self._matcher.train()
        self.made_s, self.features = time.perf_counter() - begun_s, len(known)

    def _detect(self, pixels):
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        keypoints, descriptors = self._sift.detectAndCompute(grey, None)
        return np.array([each.pt for each in keypoints], np.float32), descriptors

    def find(self, field):
        """Return the place of the field's middle, or None."""
        factor = field.pixel_um / self._grid.pixel_size_um
        picture = field.picture if field.picture.dtype == np.uint8 else (field.picture // 257).astype(np.uint8)
        small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        points, wanted = self._detect(small)
        if wanted is None or len(wanted) < 2:
            return None
        clear = [a for a, b in self._matcher.knnMatch(wanted, k=2) if a.distance < PEER_RATIO * b.distance]
        if len(clear) < 4:
            return None
        source, target = points[[m.queryIdx for m in clear]], self._points[[m.trainIdx for m in clear]]
        homography, agree = cv2.findHomography(source, target, cv2.RANSAC, 5.0)
        if homography is None or agree.sum() < PEER_INLIERS:
            return None
        middle = (field.middle_px + 0.5) * factor - 0.5
        mapped = homography @ (*middle, 1.0)
        return mapped[:2] / mapped[2] * self._grid.pixel_size_um + (self._grid.x_um, self._grid.y_um)


def run_stain(folder, stain, rack, regions, side_px, counts, peer_fields):
    """Return the figures of one slide and, for each field, its kind, outcome and seconds, ours and the peer's."""
    from mobilescope.app.pairs.finding import MosaicFinder
    from mobilescope.data.landmark_file import landmarks_path
    from mobilescope.data.layout import mosaic_path

    session = folder / "bench.h5"
    target = mosaic_path(session, stain.replace("&", ""))
    if not target.exists():
        write_mosaic(session, stain, rack.specimens[stain], side_px)
    landmarks_path(target).unlink(missing_ok=True)
    told = subprocess.run([sys.executable, "-c", INDEXING, target], stdout=subprocess.PIPE, text=True, check=True)
    figures = {"stain": stain, "index_mb": landmarks_path(target).stat().st_size / 1e6, **json.loads(told.stdout)}
    peer = Peer(target) if peer_fields else None
    if peer is not None:
        figures |= {"peer_made_s": peer.made_s, "peer_features": peer.features}
    phone, rng = Phone(rack, 1), np.random.default_rng([7, STAINS.index(stain)])
    answers, asked = [], {}
    with MosaicFinder.open(target) as finder:
        for field in fields_of(phone, stain, side_px * PIXEL_UM, regions, counts, rng):
            begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
            place = finder.find(field.picture, field.pixel_um)
            seconds, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
            where = place.to_mosaic_um.apply(field.middle_px) if place.found else None
            answer = {
                "kind": field.kind, "outcome": outcome(field, where), "seconds": seconds, "cpu_s": cpu_s,
                "verdict": place.verdict,
                "agreeing": place.evidence.agreeing, "correlation": place.evidence.correlation,
                "rival": place.evidence.rival, "reason": place.reason,
                "off_um": None if where is None or field.true_um is None else float(np.hypot(*(where - field.true_um))),
            }
            asked[field.kind] = asked.get(field.kind, 0) + 1
            if peer is not None and asked[field.kind] <= peer_fields:
                begun_s = time.perf_counter()
                theirs = peer.find(field)
                answer |= {"peer_seconds": time.perf_counter() - begun_s, "peer_outcome": outcome(field, theirs)}
            answers.append(answer)
    return figures, answers


def counted(answers, key="outcome"):
    """Return how many were right, wrong and not found."""
    found = [each[key] for each in answers if key in each]
    return {name: found.count(name) for name in ("right", "wrong", "not found")}


def main() -> None:
    """Run all stains, print a table or JSON."""
    parser = argparse.ArgumentParser(description="Fields found in a slide-sized mosaic without a position.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="small mosaics and few fields")
    parser.add_argument("--folder", type=Path, help="where mosaics are kept, and found again; without it they are not")
    parser.add_argument("--stains", nargs="+", choices=STAINS, default=STAINS, help="slides to search")
    parser.add_argument("--side", type=int, default=25_000, help="pixels along each side of a mosaic")
    parser.add_argument("--fields", type=int, default=100, help="fields with specimen of each stain")
    parser.add_argument("--real", type=int, default=40, help="fields of real tissue")
    parser.add_argument("--others", type=int, default=34, help="blank fields of each stain, and as many foreign ones")
    parser.add_argument("--peer-fields", type=int, default=20, help="fields of each kind that the peer searches")
    options = parser.parse_args()
    if options.quick:
        options.side, options.fields, options.real, options.others, options.peer_fields = 6400, 4, 2, 2, 2
    counts = {"fields": options.fields, "real": options.real, "blank": options.others, "foreign": options.others}
    rack, regions = make_rack(options.side * PIXEL_UM)
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        runs = []
        for stain in options.stains:
            runs.append(run_stain(folder, stain, rack, regions, options.side, counts, options.peer_fields))
            if not options.json:
                print_slide(*runs[-1], options.side)
    answers = [answer for _, each in runs for answer in each]
    if options.json:
        print(json.dumps({"benchmark": "retrieval", "slides": [each for each, _ in runs], "answers": answers}))
        return
    print_total(answers)


def print_slide(figures, answers, side):
    """Print a slide's index and its answers by kind."""
    print(
        f"{figures['stain']} {side}²: index made in {figures['made_s']:.1f} s ({figures['landmarks']} landmarks, "
        f"{figures['index_mb']:.0f} MB, peak {figures['peak_mib']:.0f} MiB), opened in {figures['opened_s']:.2f} s"
        + (f"; peer {figures['peer_made_s']:.1f} s" if "peer_made_s" in figures else "")
    )
    for kind in dict.fromkeys(each["kind"] for each in answers):
        mine = [each for each in answers if each["kind"] == kind]
        seconds, cpu_s = ([each[name] for each in mine] for name in ("seconds", "cpu_s"))
        theirs = [each["peer_seconds"] for each in mine if "peer_seconds" in each]
        verdicts = [each["verdict"] for each in mine]
        print(
            f"  {kind:10} {len(mine):4} {counted(mine)}  {np.median(seconds):.2f} s (95 % "
            f"{np.percentile(seconds, 95):.2f}, worst {max(seconds):.2f}), "
            f"{np.median(cpu_s):.2f} s of a core (worst {max(cpu_s):.2f})  "
            f"agreeing {min(each['agreeing'] for each in mine)}-{max(each['agreeing'] for each in mine)}, "
            f"correlation {min(each['correlation'] for each in mine):.2f}-"
            f"{max(each['correlation'] for each in mine):.2f}, verdicts "
            f"{ {name: verdicts.count(name) for name in dict.fromkeys(verdicts)} }  "
            f"peer {counted(mine, 'peer_outcome')}"
            + (f" {np.median(theirs):.3f} s" if theirs else ""),
            flush=True,
        )


def print_total(answers):
    """Print what counts over all slides."""
    with_specimen = [each for each in answers if each["kind"] not in ("foreign", "blank")]
    without = [each for each in answers if each["kind"] in ("foreign", "blank")]
    seconds, cpu_s = ([each[name] for each in answers] for name in ("seconds", "cpu_s"))
    off = [each["off_um"] for each in with_specimen if each["outcome"] == "right"]
    told = counted(with_specimen)
    print(
        f"{len(with_specimen)} fields with specimen: {told}, {told['right'] / len(with_specimen):.1%} right; "
        f"{len(without)} blank and foreign ones: {counted(without)}; {np.median(seconds):.2f} s (95 % "
        f"{np.percentile(seconds, 95):.2f}, worst {max(seconds):.2f}), {np.median(cpu_s):.2f} s of a core (worst "
        f"{max(cpu_s):.2f}); off by {np.median(off):.2f} µm "
        f"(worst {max(off):.2f})"
    )
    peer = [each for each in answers if "peer_seconds" in each]
    if peer:
        times = [each["peer_seconds"] for each in peer]
        same = [each for each in peer if each["kind"] not in ("foreign", "blank")]
        rest = [each for each in peer if each["kind"] in ("foreign", "blank")]
        print(
            f"SIFT + FLANN + RANSAC on {len(peer)} of them: with specimen {counted(same, 'peer_outcome')} (ours "
            f"{counted(same)}), blank and foreign {counted(rest, 'peer_outcome')}; {np.median(times):.2f} s (95 % "
            f"{np.percentile(times, 95):.2f}, worst {max(times):.2f}), ours on these "
            f"{np.median([each['seconds'] for each in peer]):.2f} s"
        )


if __name__ == "__main__":
    main()
