"""Tiles make no difference: a picture enhanced in parts is the picture enhanced whole, in the type it came in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilescope.core.errors import InputFileError, InputImageError, ModelKindError, UserError
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.device import computes_bfloat16
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

SMALL = NetworkConfig(first_width=6, growth=4)


def network(config=SMALL, scale=2.0):
    """Return a network whose every layer passes on what it sees, near the middle of its output's range."""
    made = EnhancementNetwork(config)
    made.initialise(3)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("weight"):
                parameter *= scale
        made.exit.bias.fill_(0.5)
    return made.eval()


def card(config=SMALL):
    return ModelCard(config, 0.925, 0.37, "a twin", "phone")


def enhancer(tile_px=512, precision="fp32"):
    return Enhancer(network(), card(), device="cpu", precision=precision, tile_px=tile_px)


def picture(rows, columns, seed=0):
    return np.random.default_rng(seed).random((rows, columns, 3), dtype=np.float32)


def untiled(image, made=None):
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        return (made or network())(batch).clamp(0, 1)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (61, 97), (37, 130), (33, 5), (1, 1), (15, 64), (65, 31)])
@pytest.mark.parametrize("tile_px", [16, 32, 31])
def test_tiled_equals_untiled(rows, columns, tile_px):
    image = picture(rows, columns)
    expected = untiled(image)
    assert expected.shape == (int(np.ceil(2.5 * rows)), int(np.ceil(2.5 * columns)), 3)
    np.testing.assert_allclose(enhancer(tile_px)(image), expected, rtol=0, atol=1e-5)
    # The picture is worth comparing: not clipped away, and not flat.
    if min(rows, columns) > 10:
        assert np.mean((expected > 0) & (expected < 1)) > 0.9
        assert expected.std() > 0.003


def test_the_papers_network_tiles_to_itself():
    made, image = network(NetworkConfig(), scale=1.0), picture(59, 45)
    expected = untiled(image, made)
    tiled = Enhancer(made, card(NetworkConfig()), device="cpu", precision="fp32", tile_px=32)
    np.testing.assert_allclose(tiled(image), expected, rtol=0, atol=1e-5)
    assert np.mean((expected > 0) & (expected < 1)) > 0.9
    assert expected.std() > 0.01


def test_without_its_halo_the_seams_show(monkeypatch):
    """The comparison above would tell."""
    image = picture(64, 64)
    monkeypatch.setattr("mobilescope.enhance.tiling.halo_px", lambda config: 2)
    assert np.abs(enhancer(16)(image) - untiled(image)).max() > 1e-5


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_the_type_that_goes_in_comes_out(kind):
    image = picture(20, 31)
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    given = np.round(image * top).astype(kind) if top > 1 else image
    found = enhancer()(given)
    assert found.dtype == kind
    expected = enhancer()(given.astype(np.float32) / top)
    np.testing.assert_allclose(found / top, expected, atol=0.51 / top if top > 1 else 0)


@pytest.mark.parametrize(
    ("shape", "remedy"), [((20, 20), "repeat its channel"), ((20, 20, 1), "repeat"), ((20, 20, 4), "alpha")]
)
def test_the_refusal_says_how_to_mend_it(shape, remedy):
    with pytest.raises(InputImageError, match=remedy):
        enhancer()(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_that_is_not_finite_is_refused(value):
    image = picture(20, 20)
    image[3, 4, 1] = value
    with pytest.raises(InputImageError, match="NaN or infinite"):
        enhancer()(image)


@pytest.mark.parametrize(("factor", "offset"), [(255, 0), (1, -0.5), (1.5, 0)])
def test_floats_on_another_scale_are_refused(factor, offset):
    with pytest.raises(InputImageError, match="0–1"):
        enhancer()(picture(20, 20) * np.float32(factor) + np.float32(offset))


def test_the_overshoot_of_rounding_is_clipped():
    image = picture(20, 20)
    image[0, 0], image[5, 5] = -1e-5, 1 + 1e-5
    np.testing.assert_array_equal(enhancer()(image), enhancer()(np.clip(image, 0, 1)))


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_give_float32(kind):
    image = picture(20, 20).astype(kind)
    found = enhancer()(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, enhancer()(image.astype(np.float32)), atol=1e-6)


def test_outputs_stay_in_range():
    loud = Enhancer(network(scale=30.0), card(), device="cpu", precision="fp32")
    found = loud(picture(30, 30))
    assert found.min() == 0
    assert found.max() == 1


def test_a_view_of_a_picture_is_as_good_as_a_copy():
    image = picture(40, 60)
    turned = image[::-1, ::2]
    np.testing.assert_array_equal(enhancer()(turned), enhancer()(turned.copy()))


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_picture_that_may_not_be_written_is_as_good(kind):
    image = np.round(picture(20, 20) * (255 if kind is np.uint8 else 1)).astype(kind)
    locked = image.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(enhancer()(locked), enhancer()(image))


def test_the_given_picture_is_not_changed():
    image = picture(20, 20)
    before = image.copy()
    enhancer()(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "shape", [(20, 20), (20, 20, 1), (20, 20, 4), (3, 20, 20), (0, 20, 3), (20, 0, 3), (1, 9, 9, 3)]
)
def test_anything_but_an_rgb_picture_is_refused(shape):
    with pytest.raises(InputImageError, match="RGB"):
        enhancer()(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", [np.int32, np.bool_, np.complex64])
def test_a_picture_of_another_type_is_refused(kind):
    with pytest.raises(InputImageError, match=np.dtype(kind).name):
        enhancer()(np.zeros((8, 8, 3), kind))


@pytest.mark.parametrize(("rows", "columns"), [
    (slice(20, 50), slice(30, 62)), (slice(0, 30), slice(4, 21)), (slice(40, 70), slice(60, 90)),
    (slice(2, 4), slice(0, 90)),
])
def test_a_part_is_enhanced_as_within_the_whole(rows, columns):
    image = picture(70, 90)
    whole, part = enhancer()(image), enhancer().part(image, rows, columns)
    top, left = rows.start * 5 // 2, columns.start * 5 // 2
    np.testing.assert_allclose(part, whole[top : top + part.shape[0], left : left + part.shape[1]], atol=1e-5)
    assert part.shape == enhancer()(image[rows, columns]).shape
    # Cut out first, its rim would have been a picture's edge.
    assert np.abs(enhancer()(image[rows, columns]) - part).max() > 1e-3


def test_a_part_that_begins_between_the_strides_keeps_its_own_grid():
    image = picture(70, 90)
    part, alone = enhancer().part(image, slice(21, 51), slice(31, 61)), enhancer()(image[21:51, 31:61])
    assert part.shape == alone.shape
    np.testing.assert_allclose(part[35:40, 35:40], alone[35:40, 35:40], atol=0.05)


def test_half_precision_is_close_and_refused_where_the_cpu_has_none(monkeypatch):
    image = picture(40, 40)
    if computes_bfloat16():
        np.testing.assert_allclose(enhancer(precision="bf16")(image), enhancer()(image), atol=0.02)
    # What a laptop's processor without AVX-512 tells.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bw": False})
    with pytest.raises(UserError, match=r"no bf16.*choose fp32"):
        enhancer(precision="bf16")
    assert enhancer(precision="auto").engine.endswith("float32")


def test_a_saved_model_enhances_as_it_did_before(tmp_path):
    path = tmp_path / "model.pt"
    save_model(path, network(), card())
    image = picture(20, 20)
    loaded = Enhancer.from_checkpoint(path, device="cpu", precision="fp32")
    np.testing.assert_array_equal(loaded(image), enhancer()(image))
    assert loaded.card == card()
    with pytest.raises(InputFileError, match=r"none\.pt"):
        Enhancer.from_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_than_rgb_pictures_is_refused(channels):
    config = NetworkConfig(channels=channels, first_width=6, growth=4)
    with pytest.raises(ModelKindError, match=f"{channels} channels"):
        Enhancer(network(config), card(config), device="cpu")
