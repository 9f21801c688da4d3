"""A dataset names pair files, keeps each slide on one side, thins blank patches, and is trained on as one file."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from training_samples import QUICK, TINY

from mobilescope.app.datasets.blank_patches import PatchPlan
from mobilescope.app.datasets.dataset_card import card_lines
from mobilescope.app.datasets.dataset_files import write_cards
from mobilescope.app.datasets.datasets import make_dataset
from mobilescope.app.inspection.inspecting import describe, lines
from mobilescope.core.errors import InputFileError, OutputError, UserError
from mobilescope.data.datasets import Dataset, joined_provenance, role_of
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.data.patch_places import patch_places
from mobilescope.learn.blindness import trained_slides
from mobilescope.learn.checkpoint import load_model, read_card
from mobilescope.learn.patches import PatchIndex
from mobilescope.learn.sources import Sources
from mobilescope.learn.train import train

PLAN = PatchPlan(patch_px=16, keep_blank=0.25, seed=3)
MONDAY = (("a", "training"), ("a", "training", {"accepted": False, "reason": "93% of the field is blank"}),
          ("b", "validation"), ("c", "blind"))
TUESDAY = (("d", "training"), ("e", "blind"),
           ("e", "blind", {"accepted": False, "reason": "81% of the field is blank"}))


@pytest.fixture
def files(write_pairs):
    """Two sessions' pairs."""
    monday = write_pairs(*MONDAY, name="monday.pairs.h5", session="monday.h5", session_digest="aa" * 32,
                         captures_sha256={"a": ["1", "2"], "b": ["3"], "c": ["4"]}, software_version="0.1")
    tuesday = write_pairs(*TUESDAY, name="tuesday.pairs.h5", session="tuesday.h5", session_digest="bb" * 32, seed=20,
                          captures_sha256={"d": ["5"], "e": ["6", "7"]}, stains={"d": "h&e", "e": "h&e"})
    return monday, tuesday


@pytest.fixture
def half_blank(tmp_path):
    """Pairs whose right half is bare glass."""
    path, generator = tmp_path / "glass.pairs.h5", np.random.default_rng(0)
    provenance = {"label_pixel_um": 0.37, "factor": 2.5, "warp": "phone", "instrument": "a twin", "session": "glass.h5",
                  "session_digest": "cc" * 32, "stains": {"a": "blood", "b": "blood"}}
    with PairWriter(path, provenance) as writer:
        for number, (slide, role) in enumerate((("a", "training"), ("a", "training"), ("b", "validation"))):
            label = np.full((240, 480, 3), 230, np.uint8) + generator.integers(-2, 3, (240, 480, 3)).astype(np.int8)
            label[:, :240] = np.kron(generator.integers(40, 250, (12, 12, 3)), np.ones((20, 20, 1)))
            writer.add(
                np.full((96, 192, 3), 40_000, np.uint16), label.astype(np.uint8), slide=slide, role=role,
                capture=number, row=0, column=0, accepted=True, reason="", quality={}, warp="phone",
                origin_px=(0.0, 0.0), window=None,
            )
    return path


def test_the_files_of_a_dataset_read_as_one_and_nothing_is_copied(files, tmp_path):
    out = tmp_path / "all.h5"
    make_dataset(files, out, PLAN, roles={"e": "validation", "b": None})
    assert out.stat().st_size < 200_000
    with PairStore.open(out) as store, PairStore.open(files[0]) as monday, PairStore.open(files[1]) as tuesday:
        assert [(record.slide, record.role) for record in store.records] == [
            ("a", "training"), ("a", "training"), ("c", "blind"), ("d", "training"), ("e", "validation"),
            ("e", "validation"),
        ]
        assert [len(part) for part in store.parts] == [3, 3]
        np.testing.assert_array_equal(store.label(2), monday.label(3))
        np.testing.assert_array_equal(store.input_window(3, 4, 6, 16, 16), tuesday.input_window(0, 4, 6, 16, 16))
        assert store.provenance["stains"] == {"a": "blood", "b": "blood", "c": "blood", "d": "h&e", "e": "h&e"}


def test_a_dataset_and_its_files_may_move_together(files, tmp_path):
    (tmp_path / "lists").mkdir()
    make_dataset(files, tmp_path / "lists" / "all.h5", PLAN)
    moved = shutil.move(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    with PairStore.open(Path(moved) / "lists" / "all.h5") as store:
        assert len(store.records) == 7
    shutil.move(moved, tmp_path)


def test_blank_patches_are_thinned_by_the_seed_and_counted(half_blank, tmp_path):
    cards = [
        make_dataset([half_blank], tmp_path / name, PatchPlan(16, keep_blank=keep, seed=seed)).card
        for name, keep, seed in (("one.h5", 0.25, 3), ("again.h5", 0.25, 3), ("other.h5", 0.25, 4), ("none.h5", 0, 3))
    ]
    one, again, other, none = (Dataset.read(tmp_path / name).dropped.tolist() for name in
                               ("one.h5", "again.h5", "other.h5", "none.h5"))
    assert one == again != other
    everywhere = patch_places((96, 192), 16, 8)
    blank = int((everywhere[:, 1] >= 96).sum())
    counts = cards[0]["roles"]["training"]
    assert counts["patches"] == 2 * len(everywhere)
    assert 0.8 * blank <= counts["blank"] / 2 <= blank
    assert counts["patches"] - counts["kept"] == len(one)
    assert len(none) == counts["blank"] > len(one) > 0.6 * len(none)
    assert all(column >= 88 for _, _, column in none)
    assert cards[0]["roles"]["validation"]["patches"] == 0


def test_a_dataset_of_bare_glass_alone_says_so(half_blank, tmp_path):
    with pytest.raises(UserError, match=r"all \d+ training patches of .* are blank and left out; keep some"):
        make_dataset([half_blank], tmp_path / "all.h5", PatchPlan(16, least_specimen=1.01, keep_blank=0))


def test_what_is_kept_of_a_pair_does_not_depend_on_its_company(half_blank, files, tmp_path):
    make_dataset([half_blank], tmp_path / "alone.h5", PLAN)
    monday, _ = files
    make_dataset([half_blank, monday], tmp_path / "both.h5", PLAN, roles={"b": "validation"})
    alone, both = (Dataset.read(tmp_path / name).dropped for name in ("alone.h5", "both.h5"))
    np.testing.assert_array_equal(alone, both[both[:, 0] < 3])


def test_training_leaves_out_what_the_dataset_leaves_out(half_blank, tmp_path):
    out = tmp_path / "thin.h5"
    make_dataset([half_blank], out, PLAN)
    sources = Sources.open([out])
    references = sources.fields("training", windowed=False)
    dropped = sources.dropped(references)
    whole = PatchIndex.over([reference.record.shape for reference in references], 16, 8, sources.factor)
    thin = whole.without(dropped)
    assert len(thin) == len(whole) - len(dropped)
    assert not {tuple(place) for place in thin.places} & {tuple(place) for place in dropped}
    result = train(out, tmp_path / "m.pt", QUICK.model_copy(update={"steps": 2, "patch_px": 32}), network=TINY)
    assert result.patches == len(thin)


@pytest.mark.usefixtures("one_thread")
def test_a_dataset_trains_what_its_files_train_and_the_model_knows_them(files, tmp_path):
    out = tmp_path / "all.h5"
    make_dataset(files, out, PatchPlan(patch_px=16))
    one, other = tmp_path / "dataset.pt", tmp_path / "files.pt"
    train(out, one, QUICK, network=TINY)
    train(list(files), other, QUICK, network=TINY)
    for first, second in zip(load_model(one)[0].parameters(), load_model(other)[0].parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    training = read_card(one).training
    assert [source["file"] for source in training["sources"]] == ["monday.pairs.h5", "tuesday.pairs.h5"]
    assert read_card(one).stain == "blood + h&e"
    assert trained_slides(training, files[0], ["a", "c"]) == ("a",)
    assert trained_slides(training, files[1], ["d", "e"]) == ("d",)
    make_dataset(files, out, PatchPlan(patch_px=16))
    assert train(out, one, QUICK, network=TINY).steps == QUICK.steps  # made again, it is the same data


@pytest.mark.parametrize("dataset", [False, True])
def test_a_slide_is_known_again_by_its_captures(files, write_pairs, tmp_path, dataset):
    """The session grew since, or its pictures were ingested again, into a session and under a name of their own."""
    model, pairs = tmp_path / "model.pt", tmp_path / "pairs.h5"
    if dataset:
        make_dataset(files, pairs, PatchPlan(patch_px=16))
    train(pairs if dataset else files[0], model, QUICK, network=TINY)
    training = read_card(model).training
    grown = write_pairs(("a", "blind"), ("z", "blind"), ("new", "blind"), name="grown.pairs.h5", seed=30,
                        session_digest="cc" * 32,
                        captures_sha256={"a": ["8", "2", "9"], "z": ["1"], "new": ["7", "3"]})
    assert trained_slides(training, grown, ["a", "z", "new"]) == ("a", "z")
    make_dataset([files[1], grown], tmp_path / "mixed.h5", PatchPlan(patch_px=16), roles={"e": None})
    assert trained_slides(training, tmp_path / "mixed.h5", ["z", "new"]) == ("z",)
    assert ", pictures" not in "\n".join(lines(describe(model)))


def test_the_card_tells_what_is_in_it(files, tmp_path):
    out = tmp_path / "all.h5"
    card = make_dataset(files, out, PLAN).card
    counted = {"slides": 2, "accepted": 2, "refused": 1, "patches": 50, "blank": 0, "kept": 50}
    assert card["roles"]["training"] == counted
    assert card["stains"]["h&e"]["accepted"] == 2
    assert card["instruments"]["a twin"]["slides"] == 5
    assert card["refused"] == {"…% of the field is blank": 2}
    assert [member["session_digest"] for member in card["members"]] == ["aa" * 32, "bb" * 32]
    facts = describe(out)
    assert facts["card"] == json.loads(json.dumps(card))
    assert facts["problems"] == []
    told = "\n".join(lines(facts))
    as_json, as_markdown = write_cards(card, out)
    assert json.loads(as_json.read_text()) == facts["card"]
    markdown = as_markdown.read_text()
    for text in ("16↔40 px", "0.925 µm in, 0.37 µm out", "tuesday.pairs.h5", "% of the field is blank"):
        assert text in told
        assert text in markdown
    assert "| a | monday.h5 | training | blood | a twin | 1 | 1 |" in markdown


def test_what_the_inputs_of_several_files_are_is_joined():
    parts = [{"input": "raw"}, {"input": "raw + jpeg"}, {}]
    assert joined_provenance(parts)["input"] == "raw + jpeg"
    assert joined_provenance([{"input": "jpeg"}] * 2)["input"] == "jpeg"


@pytest.mark.parametrize(
    ("inputs", "warned"), [(("raw", "jpeg"), True), (("jpeg", "jpeg"), False), ((None, "raw"), False)]
)
def test_inputs_of_two_kinds_are_pointed_out(write_pairs, tmp_path, inputs, warned):
    paths = [
        write_pairs((slide, "training"), name=f"{slide}.pairs.h5", seed=number, session_digest=slide * 64,
                    captures_sha256={slide: [slide]}, **({} if kind is None else {"input": kind}))
        for number, (slide, kind) in enumerate(zip("ab", inputs, strict=True))
    ]
    told = "\n".join(card_lines(make_dataset(paths, tmp_path / "all.h5", PLAN).card))
    assert ("b.pairs.h5 went through JPEG, the others did not" in told) is warned


@pytest.mark.parametrize(("role", "warned"), [("blind", True), ("validation", False)])
def test_a_blind_slide_of_two_sessions_is_pointed_out(write_pairs, tmp_path, role, warned):
    paths = [
        write_pairs(("a", "training"), ("c", role), name=f"{name}.pairs.h5", seed=number, session_digest=name * 64,
                    captures_sha256={"a": [f"a{name}"], "c": [f"c{name}"]})
        for number, name in enumerate("12")
    ]
    told = "\n".join(card_lines(make_dataset(paths, tmp_path / "all.h5", PLAN).card))
    assert ("Blind slides of several sessions: c." in told) is warned


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"members": (("a", "blind"),)}, r"slide a is training in .*monday.*--role a=ROLE"),
        ({"members": (("x", "blind"),), "captures_sha256": {"x": ["9", "2"]}}, r"slide x \(blind\).*is slide a "),
        ({"members": (("x", "training"),), "scans_sha256": {"x": "s3"}}, r"slide x \(training\).*is slide c \(blind\)"),
        ({"members": (("x", "training"),), "session_digest": "aa" * 32}, "the same session"),
        ({"members": (("x", "training"),), "warp": "benchtop"}, "warp"),
        ({"members": (("x", "training"),), "factor": 2.0}, "factor"),
    ],
    ids=["name", "captures", "scan", "session", "warp", "factor"],
)
def test_what_does_not_go_together_is_refused(write_pairs, tmp_path, second, words):
    monday = write_pairs(*MONDAY, name="monday.pairs.h5", session_digest="aa" * 32, captures_sha256={"a": ["1", "2"]},
                         scans_sha256={"c": "s3"})
    other = write_pairs(*second.pop("members"), name="other.pairs.h5", seed=9, **{"session_digest": "dd" * 32} | second)
    with pytest.raises(UserError, match=words):
        make_dataset([monday, other], tmp_path / "all.h5", PLAN)
    assert not (tmp_path / "all.h5").exists()


def test_a_slide_on_two_sides_can_be_decided_or_left_out(write_pairs, tmp_path):
    monday = write_pairs(*MONDAY, name="monday.pairs.h5", session_digest="aa" * 32)
    other = write_pairs(("a", "blind"), ("d", "training"), name="other.pairs.h5", seed=9, session_digest="dd" * 32)
    for role, found in (("blind", {"blind"}), (None, set())):
        make_dataset([monday, other], tmp_path / "all.h5", PLAN, roles={"a": role})
        with PairStore.open(tmp_path / "all.h5") as store:
            assert {record.role for record in store.records if record.slide == "a"} == found


def test_odd_requests_are_refused(files, tmp_path):
    out = tmp_path / "all.h5"
    with pytest.raises(UserError, match="no slide z; the slides are a, b, c, d, e"):
        make_dataset(files, out, PLAN, roles={"z": "blind"})
    with pytest.raises(UserError, match="is given twice"):
        make_dataset([files[0], files[0]], out, PLAN)
    with pytest.raises(OutputError, match="is no dataset"):
        make_dataset(files, files[0], PLAN)
    with pytest.raises(UserError, match=r"no accepted training pair as large as a patch of 16 px.*--role"):
        make_dataset(files, out, PLAN, roles={"a": None, "d": "blind"})
    with pytest.raises(UserError, match="as large as a patch of 400 px; give a smaller --patch-px"):
        make_dataset(files, out, PatchPlan(400))
    make_dataset(files, out, PLAN)
    with pytest.raises(UserError, match="is a dataset itself"):
        make_dataset([out], tmp_path / "more.h5", PLAN)


@pytest.mark.parametrize("text", ["a", "=blind", "a=test", "a="])
def test_a_role_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="SLIDE=ROLE"):
        role_of(text)


def test_roles_are_read():
    assert [role_of(text) for text in ("a=blind", "x=y=none")] == [("a", "blind"), ("x=y", None)]


def test_a_file_that_changed_or_is_gone_is_named(files, write_pairs, tmp_path):
    out = tmp_path / "all.h5"
    make_dataset(files, out, PLAN)
    write_pairs(*TUESDAY, name="tuesday.pairs.h5", session_digest="ee" * 32, seed=20)
    with pytest.raises(InputFileError, match=r"tuesday\.pairs\.h5 is no longer what the dataset"):
        PairStore.open(out)
    assert "no longer" in describe(out)["problems"][0]
    files[1].unlink()
    with pytest.raises(InputFileError, match=r"tuesday\.pairs\.h5"):
        train(out, tmp_path / "m.pt", QUICK, network=TINY)
    assert "is not there" in describe(out)["problems"][0]


def test_a_dataset_of_more_files_than_may_be_open_is_read(write_pairs, tmp_path):
    days = [
        write_pairs((f"slide {day}", "training"), name=f"{day}.h5", seed=day, session_digest=f"{day:064d}")
        for day in range(8)
    ]
    make_dataset(days, tmp_path / "all.h5", PLAN)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 4, before[1]))
    try:
        with PairStore.open(tmp_path / "all.h5") as store:
            assert len(store.records) == 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_damaged_dataset_is_refused(files, tmp_path):
    out = tmp_path / "all.h5"
    make_dataset(files, out, PLAN)
    out.write_bytes(out.read_bytes()[:-500])
    with pytest.raises(InputFileError):
        PairStore.open(out)
