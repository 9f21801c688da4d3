"""Tiles of one shape that cover a picture exactly; streams, batches, stops, and memory that runs out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mobilescope.core.errors import CancelledError, InputImageError, MobilescopeError
from mobilescope.core.progress import StopToken
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.tiling import spans
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.imaging.bands import bands, grid_tiles
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig, halo_px, output_size

SMALL = NetworkConfig(first_width=6, growth=4, blocks=2)


def enhancer(tile_px=32):
    made = EnhancementNetwork(SMALL)
    made.initialise(3)
    with torch.no_grad():
        made.exit.bias.fill_(0.5)
    card = ModelCard(SMALL, 0.925, 0.37, "a twin", "phone")
    return Enhancer(made.eval(), card, device="cpu", precision="fp32", engine="torch", tile_px=tile_px)


def picture(rows, columns):
    return np.random.default_rng(rows).random((rows, columns, 3), dtype=np.float32)


class Cramped(TorchEngine):
    """A real engine on a machine with room for so many pixels."""

    room_px = 1 << 30
    failure: type[Exception] = torch.OutOfMemoryError
    message = "CUDA out of memory"

    def run(self, pictures):
        if pictures[..., 0].size > self.room_px:
            raise self.failure(self.message)
        return super().run(pictures)


def cramped(monkeypatch, room_px, batch_px=1, failure=torch.OutOfMemoryError, message="CUDA out of memory"):
    monkeypatch.setattr(Cramped, "room_px", room_px)
    monkeypatch.setattr(Cramped, "failure", failure)
    monkeypatch.setattr(Cramped, "message", message)
    monkeypatch.setattr("mobilescope.enhance.engines.TorchEngine", Cramped)
    made = enhancer(tile_px=256)
    made._engine.batch_px = batch_px
    return made


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 40, 41, 97, 100, 101, 256, 1003])
def test_spans_cover_a_line_once_with_their_halo(size, stride):
    config = SMALL.model_copy(update={"stride": stride})
    found = spans(size, 32, config)
    assert len({span.last - span.first for span in found}) == 1
    assert all(span.first % stride == 0 for span in found)
    assert (found[0].start, found[-1].stop) == (0, output_size(size, config))
    assert found[0].first == 0
    assert found[-1].last == size
    halo = halo_px(config)
    for before, after in itertools.pairwise(found):
        assert before.stop == after.start
        cut = after.start * stride / config.shuffle
        assert after.first + halo <= cut <= before.last - halo


def test_a_stream_reads_no_more_than_a_tile_and_gives_the_same():
    image, made = picture(150, 211), enhancer()
    most = 0

    def read(rows, columns):
        nonlocal most
        part = image[rows, columns]
        most = max(most, part.shape[0] * part.shape[1])
        return part

    result = np.zeros(made.output_shape(image.shape), np.float32)
    for piece in made.stream(read, image.shape):
        rows, columns = piece.pixels.shape[:2]
        result[piece.row : piece.row + rows, piece.column : piece.column + columns] = piece.pixels
    assert most <= (32 + 2 * halo_px(SMALL) + 1) ** 2
    np.testing.assert_allclose(result, enhancer(tile_px=512)(image), atol=1e-5)


def test_a_stream_becomes_the_tiles_of_a_tiff():
    image, made = np.round(picture(90, 131) * 255).astype(np.uint8), enhancer()
    whole = made(image)
    found = list(grid_tiles(bands(made.stream(lambda *place: image[place], image.shape), whole.shape[1]), 64))
    expected = [
        whole[row : row + 64, column : column + 64]
        for row in range(0, whole.shape[0], 64)
        for column in range(0, whole.shape[1], 64)
    ]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_huge_picture_starts_without_being_held():
    """A 10,000 × 1,000,000 px picture could not be held; its first piece comes at once."""
    made = enhancer()

    def read(rows, columns):
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)

    first = next(made.stream(read, (10_000, 1_000_000, 3)))
    assert (first.row, first.column, first.pixels.shape[2]) == (0, 0, 3)


def test_a_stream_of_no_picture_is_refused_at_once():
    with pytest.raises(InputImageError, match="RGB"):
        enhancer().stream(lambda rows, columns: np.zeros((1, 1, 4), np.uint8), (10, 10, 4))


def test_progress_counts_tiles_and_a_stop_comes_between_them():
    image, made, seen, stop = picture(150, 150), enhancer(), [], StopToken()

    def listen(progress):
        seen.append((progress.done, progress.total))
        if progress.done == 3:
            stop.request()

    with pytest.raises(CancelledError):
        made(image, on_progress=listen, stop=stop)
    assert [done for done, _ in seen] == [1, 2, 3]
    seen.clear()
    made(image, on_progress=listen)
    assert seen[-1][0] == seen[-1][1] > 3


def test_batches_of_tiles_are_the_tiles():
    image = picture(150, 211)
    made = enhancer()
    made._engine.batch_px = 20_000
    np.testing.assert_allclose(made(image), enhancer()(image), atol=1e-5)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (MemoryError, ""),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_when_memory_runs_out_tiles_shrink_and_it_goes_on(monkeypatch, failure, message):
    image = picture(200, 300)
    expected = enhancer(512)(image)
    made = cramped(monkeypatch, 100 * 100, failure=failure, message=message)
    with pytest.warns(RuntimeWarning, match="going on with tiles of") as told:
        found = made(image)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The next picture is cut small from the start.
    count = len(told)
    made(image)
    assert len(told) == count


def test_a_batch_too_large_is_taken_apart_before_its_tiles(monkeypatch):
    image = picture(250, 700)
    expected = enhancer(512)(image)
    made = cramped(monkeypatch, 80_000, batch_px=200_000)
    np.testing.assert_allclose(made(image), expected, atol=1e-5)


def test_memory_for_not_even_a_small_tile_is_an_error(monkeypatch):
    made = cramped(monkeypatch, 10)
    with (
        pytest.warns(RuntimeWarning, match="memory ran out"),
        pytest.raises(MobilescopeError, match="memory ran out"),
    ):
        made(picture(200, 300))


def test_other_failures_are_not_taken_for_want_of_memory(monkeypatch):
    made = cramped(monkeypatch, 10, failure=RuntimeError, message="a shape that no kernel takes")
    with pytest.raises(RuntimeError, match="no kernel"):
        made(picture(200, 300))
