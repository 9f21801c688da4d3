"""OpenVINO gives what torch gives: every edge, both types, both precisions; int8 is offered where it holds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from mobilescope.core.errors import InputImageError, UserError
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.ranges import balanced, measure_ranges
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.device import computes_bfloat16
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra 'fast'")
SMALL = NetworkConfig(first_width=8, growth=4, blocks=2)


def network(config=SMALL, seed=3):
    made = EnhancementNetwork(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.12, generator=generator)
        made.exit.bias.fill_(0.5)
    return made.eval()


def enhancer(engine, precision="fp32", config=SMALL, **options):
    card = ModelCard(config, 0.925, 0.37, "a twin", "phone")
    return Enhancer(network(config), card, device="cpu", precision=precision, engine=engine, **options)


def scene(rows, columns, seed=0):
    """Return a smooth picture with some texture, 0–1."""
    down, across = np.mgrid[:rows, :columns] / 9
    noise = np.random.default_rng(seed).random((rows, columns, 3)) * 0.2
    waves = [np.sin(down + seed), np.cos(across - seed), np.sin(down * across / 40)]
    return (0.4 + 0.2 * np.stack(waves, axis=-1) + noise).astype(np.float32)


@needs_openvino
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (5, 4), (7, 7), (64, 41)])
@pytest.mark.parametrize("ratio", [(5, 2), (3, 2), (2, 1), (2, 2), (1, 2), (7, 4)])
def test_the_same_picture_in_fp32(rows, columns, ratio):
    config = SMALL.model_copy(update={"shuffle": ratio[0], "stride": ratio[1]})
    image = scene(rows, columns)
    expected = enhancer("torch", config=config)(image)
    np.testing.assert_allclose(enhancer("openvino", config=config)(image), expected, rtol=0, atol=1e-5)


@needs_openvino
def test_bytes_are_within_a_count():
    image = np.round(scene(50, 61) * 255).astype(np.uint8)
    found, expected = enhancer("openvino")(image), enhancer("torch")(image)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 0.001


@needs_openvino
def test_bf16_stays_close():
    image = np.round(scene(50, 61) * 255).astype(np.uint8)
    if not computes_bfloat16():
        # OpenVINO would take the word and compute float32.
        with pytest.raises(UserError, match="no bf16"):
            enhancer("openvino", "bf16")
        return
    found, expected = enhancer("openvino", "bf16")(image), enhancer("torch")(image)
    error = found.astype(float) - expected
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 45


@needs_openvino
def test_it_is_chosen_where_it_is_installed():
    assert "openvino" in enhancer("auto").engine
    assert "torch" in enhancer("torch").engine


def test_without_it_torch_computes(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    assert "torch" in enhancer("auto").engine


@needs_openvino
def test_several_shapes_and_types_in_turn():
    fast, plain = enhancer("openvino"), enhancer("torch")
    for _ in range(2):
        for rows in range(20, 26):
            image = scene(rows, 20)
            np.testing.assert_allclose(fast(image), plain(image), atol=1e-5)


@needs_openvino
def test_int8_is_close_on_pictures_it_was_not_measured_on():
    pictures = [np.round(scene(96, 96, seed) * 255).astype(np.uint8) for seed in range(3)]
    fast = enhancer("openvino", "int8", calibration=pictures[:2])
    assert "int8" in fast.engine
    error = fast(pictures[2]).astype(float) - enhancer("torch")(pictures[2])
    assert np.any(error)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 40


@needs_openvino
def test_int8_that_does_not_hold_is_refused_with_its_figures(monkeypatch):
    monkeypatch.setattr("mobilescope.enhance.quantising.LEAST_PSNR_DB", 200.0)
    with pytest.raises(UserError, match=r"SSIM \d\.\d+ and \d+\.\d dB"):
        enhancer("openvino", "int8", calibration=[scene(96, 96)])


@needs_openvino
def test_int8_needs_pictures():
    with pytest.raises(UserError, match="needs pictures"):
        enhancer("auto", "int8")
    with pytest.raises(InputImageError, match="too small"):
        enhancer("auto", "int8", calibration=[scene(30, 96)])


def test_int8_is_not_for_torch():
    with pytest.raises(UserError, match="int8"):
        enhancer("torch", "int8", calibration=[scene(96, 96)])


def test_an_unknown_engine_is_refused():
    with pytest.raises(UserError, match="no engine 'magic'"):
        enhancer("magic")


def test_fp16_on_a_cpu_that_has_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(UserError, match="fp16"):
        enhancer("auto", "fp16")


def test_balanced_channels_give_the_same_picture():
    made, image = network(), scene(40, 40)
    even = balanced(made, [image])
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        np.testing.assert_allclose(even(batch).numpy(), made(batch).numpy(), atol=1e-5)

    def spread(each):
        tops = [max(-pair[0], pair[1]) for pair in measure_ranges(each, [image]).limits]
        return max(tops) / min(tops)

    assert spread(even) < spread(made)


def test_a_signal_is_answered_after_an_engine_was_dropped_in_another_thread():
    program = (
        "import signal, threading\n"
        "import numpy as np, torch\n"
        "from mobilescope.enhance.openvino_engine import OpenVinoEngine\n"
        "from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig\n"
        "network = EnhancementNetwork(NetworkConfig(first_width=4, blocks=1, growth=0)).eval()\n"
        "held = [OpenVinoEngine(network, torch.float32)]\n"
        "held[0].run(np.zeros((1, 16, 16, 3), np.uint8))\n"
        "thread = threading.Thread(target=held.clear)\n"
        "thread.start()\n"
        "thread.join()\n"
        "signal.signal(signal.SIGINT, lambda *_: print('asked to stop'))\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "asked to stop\n"), done.stderr
