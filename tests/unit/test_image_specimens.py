"""Image files as specimens: read with care, in linear light, true to area, cut into parts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from specimen_pictures import smooth_picture, written_png

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.imaging.colour import decode_8bit, srgb_decode
from mobilescope.twin.specimens import ImageSpecimen, cut_into_parts

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return smooth_picture()


@pytest.fixture
def png(tmp_path: Path) -> Path:
    return written_png(tmp_path)


def own_grid(specimen: ImageSpecimen) -> PixelGrid:
    """The grid on which a grid pixel is a pixel of the image."""
    extent = specimen.extent
    assert extent is not None
    return PixelGrid.over(extent, specimen.pixel_size_um)


def test_image_on_its_own_grid_is_the_image_in_linear_light(png: Path, picture: np.ndarray) -> None:
    specimen = ImageSpecimen(png, 0.25)
    assert specimen.extent == RegionUm(-12.5, -10, 25, 20)
    np.testing.assert_allclose(specimen.transmittance(own_grid(specimen)), decode_8bit(picture), atol=1e-5)


def test_image_is_mirrored_beyond_its_edges(png: Path, picture: np.ndarray) -> None:
    specimen = ImageSpecimen(png, 1.0)
    left_above = specimen.transmittance(PixelGrid(-50 - 99.5, -40 - 79.5, 1.0, 80, 100))
    np.testing.assert_allclose(left_above, decode_8bit(picture)[::-1, ::-1], atol=1e-5)
    two_further = specimen.transmittance(PixelGrid(-49.5 + 200, -39.5, 1.0, 80, 100))
    np.testing.assert_allclose(two_further, decode_8bit(picture), atol=1e-5)


def test_part_of_an_image_shows_nothing_from_outside_it(tmp_path: Path, picture: np.ndarray) -> None:
    marked = np.tile(picture, (2, 2, 1))
    marked[:, 130:] = 0
    Image.fromarray(marked).save(tmp_path / "marked.png")
    specimen = ImageSpecimen(tmp_path / "marked.png", 2.0, part=RegionUm(-200, -160, 260, 200))
    assert specimen.extent == RegionUm(-200, -160, 260, 200)
    for pitch_um in (0.9, 2.0):
        light = specimen.transmittance(PixelGrid.over(RegionUm(-300, -250, 600, 500), pitch_um))
        unmarked = ImageSpecimen(tmp_path / "marked.png", 2.0).transmittance(
            PixelGrid.over(RegionUm(-200, -160, 250, 200), pitch_um)
        )
        assert light.min() > unmarked.min() - 0.02
    mirrored = specimen.transmittance(PixelGrid(61, -159, 2.0, 100, 10))
    np.testing.assert_allclose(mirrored, decode_8bit(marked)[:100, 129:119:-1], atol=1e-5)


def test_coarser_grid_averages_and_finer_grid_interpolates(tmp_path: Path) -> None:
    checks = np.kron(np.indices((64, 64)).sum(axis=0) % 2, np.ones((2, 2)))
    Image.fromarray((255 * checks).astype(np.uint8)).save(tmp_path / "checks.png")
    coarse = ImageSpecimen(tmp_path / "checks.png", 0.25).transmittance(PixelGrid(-6.1, -5.8, 1.8, 8, 8))
    np.testing.assert_allclose(coarse, 0.5, atol=0.02)
    ramp = np.tile(np.linspace(5000, 60000, 100), (70, 1)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "ramp.tif", ramp)
    fine = ImageSpecimen(tmp_path / "ramp.tif", 1.0).transmittance(PixelGrid(-20.125, 0, 0.25, 1, 160))[0, :, 0]
    expected = np.interp(-20.125 + 0.25 * np.arange(160), np.arange(100) - 49.5, srgb_decode(ramp[0] / 65535))
    np.testing.assert_allclose(fine, expected, atol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_grey_files_give_three_equal_bands(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(picture[..., 1]).save(path)
    specimen = ImageSpecimen(path, 1.0)
    light = specimen.transmittance(own_grid(specimen))
    np.testing.assert_allclose(light[..., 0], light[..., 2])
    np.testing.assert_allclose(light[..., 1], decode_8bit(picture[..., 1]), atol=0.05 if suffix == "jpg" else 1e-5)


def test_alpha_is_laid_over_white(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[40:] = 255
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "clear.png")
    specimen = ImageSpecimen(tmp_path / "clear.png", 1.0)
    light = specimen.transmittance(own_grid(specimen))
    np.testing.assert_allclose(light[:40], 1)
    np.testing.assert_allclose(light[40:], decode_8bit(picture[40:]), atol=1e-5)


def test_sixteen_bit_colour_png_keeps_its_depth(tmp_path: Path, picture: np.ndarray) -> None:
    deep = (picture.astype(np.float64) * 256.5).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    specimen = ImageSpecimen(tmp_path / "deep.png", 1.0)
    np.testing.assert_allclose(specimen.transmittance(own_grid(specimen)), srgb_decode(deep / 65535), atol=1e-5)


@pytest.mark.parametrize("layout", ["strips", "tiles", "pyramid", "planes", "lzw", "palette"])
def test_tiff_layouts_all_read_the_same(tmp_path: Path, picture: np.ndarray, layout: str) -> None:
    image = np.tile(picture, (4, 3, 1))
    path = tmp_path / f"{layout}.tif"
    match layout:
        case "strips":
            tifffile.imwrite(path, image, photometric="rgb")
        case "tiles":
            tifffile.imwrite(path, image, photometric="rgb", tile=(64, 48), compression="zlib")
        case "pyramid":
            with tifffile.TiffWriter(path, ome=True) as file:
                file.write(image, photometric="rgb", tile=(64, 64), subifds=1)
                file.write(image[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1)
        case "planes":
            tifffile.imwrite(path, image.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
        case "lzw":
            Image.fromarray(image).save(path, compression="tiff_lzw")
        case "palette":
            reduced = Image.fromarray(image).quantize(64)
            reduced.save(path)
            image = np.asarray(reduced.convert("RGB"))
    specimen = ImageSpecimen(path, 1.0)
    np.testing.assert_allclose(specimen.transmittance(own_grid(specimen)), decode_8bit(image), atol=1e-5)


@pytest.mark.parametrize("kind", ["ome", "imagej", "aperio", "tags"])
def test_pixel_size_is_taken_from_the_tiff(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    path = tmp_path / ("slide.ome.tif" if kind == "ome" else "slide.tif")
    match kind:
        case "ome":
            metadata = {"axes": "YXS", "PhysicalSizeX": 325.0, "PhysicalSizeXUnit": "nm"}
            tifffile.imwrite(path, picture, photometric="rgb", metadata=metadata)
        case "imagej":
            tifffile.imwrite(path, picture, imagej=True, resolution=(1 / 0.325, 1 / 0.325), metadata={"unit": "um"})
        case "aperio":
            tifffile.imwrite(path, picture, photometric="rgb", description="Aperio|AppMag = 20|MPP = 0.325")
        case "tags":
            per_cm = 1e4 / 0.325
            tifffile.imwrite(path, picture, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    assert ImageSpecimen(path).pixel_size_um == pytest.approx(0.325, rel=1e-4)
    assert ImageSpecimen(path, 0.5).pixel_size_um == 0.5


def test_printing_resolution_is_not_taken_for_a_pixel_size(tmp_path: Path, picture: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "dpi.tif", picture, photometric="rgb", resolution=(300, 300), resolutionunit="INCH")
    with pytest.raises(InputImageError, match="give the pixel size"):
        ImageSpecimen(tmp_path / "dpi.tif")


def test_jpeg_compressed_slide_is_read_in_parts_with_its_true_colours() -> None:
    path = SHARED / "wsi" / "cmu1_small_region.svs"
    if not path.exists():
        pytest.skip("the shared test images are not here")
    with Image.open(path) as slide:
        expected = np.asarray(slide.crop((700, 900, 1000, 1150)))
    specimen = ImageSpecimen(path)
    assert specimen.pixel_size_um == 0.499
    whole = own_grid(specimen)
    assert (whole.rows, whole.columns) == (2967, 2220)
    grid = PixelGrid(whole.x_um + 700 * 0.499, whole.y_um + 900 * 0.499, 0.499, 250, 300)
    assert np.abs(specimen.transmittance(grid) - decode_8bit(expected)).mean() < 0.005


def damaged(tmp_path: Path, picture: np.ndarray, kind: str) -> Path:
    """Write a file that can't serve as a specimen."""
    path = tmp_path / f"{kind}.tif"
    match kind:
        case "missing":
            pass
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            path.write_bytes(b"not an image at all" * 20)
        case "cut_png" | "cut_jpeg" | "cut_tiff" | "cut_tiles":
            if kind == "cut_tiff":
                tifffile.imwrite(path, picture, photometric="rgb")
            elif kind == "cut_tiles":
                tifffile.imwrite(path, picture, photometric="rgb", tile=(32, 32))
            else:
                Image.fromarray(picture).save(path, format=kind.removeprefix("cut_"))
            path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        case "small":
            Image.fromarray(picture[:63]).save(path)
        case "float":
            tifffile.imwrite(path, picture.astype(np.float32), photometric="rgb", tile=(32, 32))
        case "stack":
            tifffile.imwrite(path, np.stack([picture[..., 0]] * 5), photometric="minisblack")
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "foreign", "cut_png", "cut_jpeg", "cut_tiff", "cut_tiles"])
def test_unreadable_files_are_named_with_a_way_out(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    path = damaged(tmp_path, picture, kind)
    with pytest.raises(InputFileError, match=path.name) as caught:
        ImageSpecimen(path, 0.5)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["small", "float", "stack"])
def test_unsuitable_images_are_named_with_a_way_out(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    path = damaged(tmp_path, picture, kind)
    with pytest.raises(InputImageError, match=path.name) as caught:
        ImageSpecimen(path, 0.5)
    assert caught.value.remedy


@pytest.mark.parametrize("pixel_size_um", [None, 0.0, -1.0, float("nan")])
def test_an_image_needs_a_pixel_size_above_zero(png: Path, pixel_size_um: float | None) -> None:
    with pytest.raises(InputImageError, match="pixel size"):
        ImageSpecimen(png, pixel_size_um)


@pytest.mark.parametrize(
    ("part", "message"),
    [(RegionUm(-60, -40, 100, 80), "reaches out"), (RegionUm(-20, -20, 40, 40), "40x40 pixels")],
)
def test_part_outside_or_too_small_is_refused(png: Path, part: RegionUm, message: str) -> None:
    with pytest.raises(InputImageError, match=message):
        ImageSpecimen(png, 1.0, part=part)


@pytest.mark.parametrize(
    ("length_um", "widths_um"),
    [
        (1000, [500, 100, 200]),
        (600, [100, 100, 200]),
        (525, [100, 75, 150]),
        (450, [100, 50, 100]),
        (400, [75, 50, 75]),
        (350, [50, 50, 50]),
    ],
)
@pytest.mark.parametrize("upright", [False, True])
def test_image_is_cut_with_gaps_along_its_longer_side(length_um: float, widths_um: list[float], upright: bool) -> None:
    size = (300, length_um) if upright else (length_um, 300)
    parts = cut_into_parts(*size, gap_um=100)
    assert list(parts) == ["training", "validation", "blind"]
    spans = [
        (part.y_um, part.bottom_um, part.width_um) if upright else (part.x_um, part.right_um, part.height_um)
        for part in parts.values()
    ]
    assert [high - low for low, high, _ in spans] == pytest.approx(widths_um)
    assert [low for low, _, _ in spans[1:]] == pytest.approx([high + 100 for _, high, _ in spans[:-1]])
    assert (spans[0][0], spans[-1][1]) == pytest.approx((-length_um / 2, length_um / 2))
    assert {breadth for _, _, breadth in spans} == {300}


def test_image_too_short_for_three_parts_is_refused() -> None:
    with pytest.raises(InputImageError, match="350 µm"):
        cut_into_parts(345, 200, gap_um=100)


def test_cut_parts_are_accepted_by_the_image_they_were_cut_from(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.tile(picture, (1, 6, 1))).save(tmp_path / "long.png")
    for part in cut_into_parts(600 * 0.31, 80 * 0.31, gap_um=70 * 0.31).values():
        extent = ImageSpecimen(tmp_path / "long.png", 0.31, part=part).extent
        assert extent is not None
        assert part.grown(0.31).contains(extent)
