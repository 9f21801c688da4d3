"""Pictures like the training set are trusted, others are not and say why; nothing that can be enhanced breaks it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mobilescope.core.errors import CancelledError, InputFileError, InputImageError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.enhance.trust import TrustAssessor
from mobilescope.imaging.appearance import resized
from mobilescope.imaging.raw import develop_srgb
from mobilescope.learn.checkpoint import ModelCard, load_model, read_reference, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.reference import attach_reference

SMALL = NetworkConfig(first_width=8, blocks=2, growth=2)
PIXEL_UM = 0.925


def field(phone, rng):
    capture = phone.capture(*rng.uniform(-1500, 1500, 2))
    return develop_srgb(
        capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
        white_balance=capture.white_balance,
    )


@pytest.fixture(scope="module")
def pictures():
    """Fields of blood smears and of tissue as the twin's phone sees them, by name."""
    from software_instruments import SoftwareRing

    from mobilescope.twin.parameters import load_parameters
    from mobilescope.twin.phone import TwinPhone
    from mobilescope.twin.slides import SlideRack, SlideSpec
    from mobilescope.twin.truth import TruthLog

    parameters = load_parameters({"phone": {"bayer_rows": 400, "bayer_columns": 400}})
    specs = {f"blood-{seed}": SlideSpec(specimen="blood", seed=seed) for seed in (1, 2, 3, 4)}
    specs["tissue"] = SlideSpec(specimen="h&e", seed=1)
    ring = SoftwareRing()
    ring.set_colour(255, 255, 255)
    phone = TwinPhone(SlideRack(specs, parameters.surface), parameters, seed=0, truth=TruthLog(), illuminator=ring)
    rng, taken = np.random.default_rng(0), {}
    for name, count in {"blood-1": 9, "blood-2": 8, "blood-3": 5, "blood-4": 4, "tissue": 2, "blank": 1}.items():
        phone.mount(name)
        taken[name] = [field(phone, rng) for _ in range(count)]
    phone.mount("blood-4")
    phone.defocus_um = 32.0
    taken["defocused"] = [field(phone, rng) for _ in range(2)]
    return taken


def write_model(path, network):
    card = ModelCard(SMALL, PIXEL_UM, 0.37, "a twin", "phone", stain="blood", training={"steps_done": 5})
    save_model(path, network, card, {"step": 5.0})
    return path


def random_network(seed=0):
    network = EnhancementNetwork(SMALL)
    network.initialise(seed)
    return network


@pytest.fixture(scope="module")
def job(pictures, tmp_path_factory):
    """A model, and the pairs it could have been trained on."""
    folder = tmp_path_factory.mktemp("job")
    with PairWriter(folder / "pairs.h5", {"label_pixel_um": 0.37, "instrument": "a twin", "warp": "phone"}) as writer:
        for slide, role in (("blood-1", "training"), ("blood-2", "training"), ("blood-3", "validation")):
            for number, pixels in enumerate(pictures[slide]):
                writer.add(
                    pixels, np.zeros((500, 500, 3), np.uint8), slide=slide, role=role, capture=number, row=0, column=0,
                    accepted=number != 8, reason="", quality={}, warp="phone", origin_px=(0.0, 0.0), window=None,
                )
    model = write_model(folder / "model.pt", random_network())
    assert attach_reference(model, [folder / "pairs.h5"]) == 21
    return model


@pytest.fixture(scope="module")
def assessor(job):
    return TrustAssessor.from_checkpoint(job, device="cpu")


def test_blind_fields_of_the_same_kind_are_trusted(assessor, pictures):
    for picture in pictures["blood-4"]:
        report = assessor.assess(picture, pixel_size_um=PIXEL_UM)
        assert (report.state, report.reasons) == ("trusted", ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda picture: cv2.GaussianBlur(picture, (0, 0), 2.5), "out of focus"),
        (lambda picture: resized(picture, 0.75), "sampled at"),
        (lambda picture: resized(picture, 1.25), "sampled at"),
        (lambda picture: picture * np.array([1.15, 1.0, 0.8]), "colours are not those"),
        (lambda picture: np.clip(picture * 1.9, 0, 1), "overexposed"),
        (lambda picture: picture * 0.0, "switch the light on"),
    ],
)
def test_a_wrong_picture_is_flagged_for_its_cause(assessor, pictures, change, reason):
    right = np.float32(pictures["blood-4"][0] / 65535)
    report = assessor.assess(change(right))
    assert report.state != "trusted"
    assert reason in " | ".join(report.reasons)
    assert report.measures.get("level", 2.0) > assessor.assess(right).measures["level"]


def test_a_phone_out_of_focus_is_told_to_refocus(assessor, pictures):
    for picture in pictures["defocused"]:
        report = assessor.assess(picture)
        assert report.state == "not for use"
        assert "refocus and capture again" in report.reasons[0]


def test_the_more_blur_the_higher_the_level(assessor, pictures):
    right = np.float32(pictures["blood-4"][1] / 65535)
    levels = [
        assessor.assess(cv2.GaussianBlur(right, (0, 0), blur) if blur else right).measures["blur_level"]
        for blur in (0, 0.6, 1.0, 1.6)
    ]
    assert levels == sorted(levels)


def test_another_stain_is_not_for_use(assessor, pictures):
    for picture in pictures["tissue"]:
        report = assessor.assess(picture)
        assert report.state == "not for use"
        assert "(blood)" in report.reasons[0]


def test_clear_glass_is_told_as_such(assessor, pictures):
    for picture in pictures["blank"]:
        report = assessor.assess(picture)
        assert report.state == "caution"
        assert "too little specimen" in report.reasons[0]


def test_a_told_pixel_size_counts_even_in_a_picture_too_small_to_be_judged(assessor):
    report = assessor.assess(np.zeros((8, 8, 3), np.uint8), pixel_size_um=0.5)
    assert report.state == "not for use"
    assert report.reasons[0].startswith("the picture is sampled at 0.5 µm")
    assert "too small" in report.reasons[1]


@pytest.mark.parametrize("pixel_size_um", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_refused(assessor, pixel_size_um):
    with pytest.raises(UserError, match="no pixel size"):
        assessor.assess(np.zeros((8, 8, 3), np.uint8), pixel_size_um=pixel_size_um)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (63, 200), (64, 64), (65, 67), (199, 64), (200, 131)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_any_size_and_type_is_judged(assessor, pictures, shape, kind):
    picture = np.resize(pictures["blood-4"][2], (*shape, 3))
    image = picture / 65535 if kind in (np.float32, np.float64) else picture // (257 if kind is np.uint8 else 1)
    report = assessor.assess(image.astype(kind))
    assert report.state in ("trusted", "caution", "not for use")
    assert all(np.isfinite(value) for value in report.measures.values())
    assert (min(shape) < 64) == any("too small" in reason for reason in report.reasons)


def test_the_type_of_a_picture_hardly_matters(assessor, pictures):
    picture = pictures["blood-4"][3]
    levels = [
        assessor.assess(each).measures["level"]
        for each in (picture, np.round(picture / 257).astype(np.uint8), picture / 65535)
    ]
    assert levels == pytest.approx([levels[0]] * 3, abs=0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.0])
@pytest.mark.parametrize("size", [8, 128])
def test_what_can_not_be_enhanced_is_refused(assessor, bad, size):
    image = np.full((size, size, 3), 0.5)
    image[0, 0, 0] = bad
    with pytest.raises(InputImageError):
        assessor.assess(image)
    with pytest.raises(InputImageError, match="RGB image"):
        assessor.assess(np.zeros((size, size), np.uint8))


def test_a_slide_is_judged_in_parts(assessor, pictures):
    picture, read = pictures["blood-4"][0], []

    def part(rows, columns):
        read.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return np.tile(picture, (2, 2, 1))[: rows.stop - rows.start, : columns.stop - columns.start]

    report = assessor.assess_parts(part, (25_000, 25_000, 3))
    assert report.state == "trusted"
    assert sum(read) < 1_000_000


def test_a_model_without_statistics_is_never_trusted(tmp_path, pictures):
    bare = TrustAssessor.from_checkpoint(write_model(tmp_path / "model.pt", random_network()))
    report = bare.assess(pictures["blood-4"][0], pixel_size_um=PIXEL_UM)
    assert report.state == "caution"
    assert "carries no statistics of its training set" in report.reasons[0]


@pytest.mark.parametrize("shape", [(40, 30), (41, 33), (200, 199)])
def test_the_map_of_disagreement_lies_on_the_input(assessor, pictures, shape):
    report = assessor.assess(pictures["blood-4"][0][: shape[0], : shape[1]], with_map=True)
    assert report.disagreement.shape == shape
    assert report.measures["disagreement_p95"] >= report.measures["disagreement_mean"] > 0
    assert "disagreement" not in report.to_json()


def test_members_of_an_ensemble_that_disagree_show_in_the_map(job, tmp_path, pictures):
    other = write_model(tmp_path / "other.pt", random_network(seed=1))
    picture = pictures["blood-4"][0][:64, :64]
    alone, both = (
        TrustAssessor.from_checkpoint(job, others=others).assess(picture, with_map=True) for others in ([], [other])
    )
    assert both.disagreement.mean() > alone.disagreement.mean()
    assert "disagreement_level" in alone.measures
    assert "disagreement_level" not in both.measures


def test_attaching_leaves_weights_card_and_state_as_they_were(job):
    network, card, state = load_model(job)
    for name, value in random_network().state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    assert (card.training, card.stain, state) == ({"steps_done": 5}, "blood", {"step": 5.0})
    assert not job.with_name("model.pt.part").exists()


def test_a_model_of_two_training_sets_trusts_pictures_of_either(job, tmp_path, pictures, write_pairs):
    model = write_model(tmp_path / "model.pt", random_network())
    other = write_pairs(("a", "training"), ("b", "training"), ("c", "validation"), size=200, name="other.h5")
    seen = []
    assert attach_reference(model, [other, job.with_name("pairs.h5")], on_progress=seen.append) == 24
    assert [(each.done, each.total) for each in seen] == [(number, 24) for number in range(1, 25)]
    both = TrustAssessor.from_checkpoint(model, device="cpu")
    with PairStore.open(other) as store:
        assert both.assess(store.input(2)).state == "trusted"
    assert both.assess(pictures["blood-4"][0]).state == "trusted"
    assert both.assess(pictures["tissue"][0]).state == "not for use"


def test_pairs_too_small_or_empty_leave_the_model_without_statistics(tmp_path, write_pairs):
    model = write_model(tmp_path / "model.pt", random_network())
    assert attach_reference(model, [write_pairs(("a", "training"), ("b", "validation"))]) == 0
    assert read_reference(model) == {}


def test_few_fields_suffice_and_give_the_same_statistics_again(tmp_path, write_pairs):
    model = write_model(tmp_path / "model.pt", random_network())
    pairs = write_pairs(("a", "training"), ("b", "validation"), ("c", "blind"), size=200)
    seen = []
    assert attach_reference(model, [pairs], on_progress=seen.append) == 2
    assert [(each.done, each.total) for each in seen] == [(1, 2), (2, 2)]
    before = read_reference(model)
    attach_reference(model, [pairs])
    for name, value in read_reference(model).items():
        torch.testing.assert_close(value, before[name])
    assert TrustAssessor.from_checkpoint(model).assess(np.zeros((100, 100, 3), np.uint8)).state == "not for use"


def test_a_stop_leaves_the_model_as_it_was(job, tmp_path):
    model = write_model(tmp_path / "model.pt", random_network())
    before, stop = model.read_bytes(), StopToken()
    stop.request()
    with pytest.raises(CancelledError):
        attach_reference(model, [job.with_name("pairs.h5")], stop=stop)
    assert model.read_bytes() == before


def test_damaged_statistics_are_told_by_the_models_name(job, tmp_path):
    network, card, state = load_model(job)
    path = tmp_path / "damaged.pt"
    save_model(path, network, card, state, {"version": torch.tensor(1.0)})
    with pytest.raises(InputFileError, match=r"damaged\.pt"):
        TrustAssessor.from_checkpoint(path)
