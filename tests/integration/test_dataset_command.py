"""A dataset through every command that takes one."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from mobilescope.data.pairs import PairStore


def test_a_dataset_goes_through_every_command(small_job, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("session.h5", "session.pairs.h5"):
        shutil.copy(small_job.folder / name, tmp_path)
    roles = ("--role", "second=blind", "--role", "third=validation")
    status, output, said = command("dataset", "session.h5", "--out", "set.h5", *roles, "--keep-blank", "0", "--json")
    assert status == 0, said
    card = json.loads(output)["card"]
    assert {row["slide"]: row["role"] for row in card["slides"]} == {
        "first": "training", "second": "blind", "third": "validation",
    }
    assert (tmp_path / "set.card.md").read_text().startswith("# set\n")

    status, _, said = command("evaluate", small_job.model, "set.h5", "--report", "set.html", "--device", "cpu")
    assert status == 0, said
    rows = list(csv.DictReader((tmp_path / "set.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["slide"] for row in rows} == {"second"}

    status, output, said = command("inspect", "set.h5", "--json")
    assert (status, json.loads(output)["card"]) == (0, card)
    assert "60↔150 px, 40% overlap" in said
    status, output, said = command("export", "set.h5", "--pairs", "tiff", "--out", "folders", "--json")
    assert status == 0, said
    assert len(list((tmp_path / "folders" / "val" / "label").iterdir())) == 4
    assert command("export", "set.h5", "--out", "again")[0] == 0
    assert len(list((tmp_path / "again" / "val" / "label").iterdir())) == 4
    for file in ("set.h5", "session.pairs.h5"):
        assert command("export", file, "--pairs", "png", "--out", f"png-of-{file}")[0] == 0
        with PairStore.open(tmp_path / file) as store:
            accepted = sum(record.accepted for record in store.records)
        assert len(list((tmp_path / f"png-of-{file}").glob("*-benchtop.png"))) == accepted

    with (tmp_path / "session.pairs.h5").open("ab") as file:
        file.write(b"more")
    status, _, said = command("inspect", "set.h5")
    assert status == 1
    assert "session.pairs.h5 is no longer what the dataset was made of" in said
    status, _, said = command("train", "set.h5", "--out", "other.pt")
    assert status == 2
    assert said.splitlines()[-1].endswith("make the dataset again")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dataset", "session.h5", "--patch-px", "61"), "give an even number"),
        (("dataset", "session.h5", "--role", "first"), "SLIDE=ROLE"),
        (("dataset", "session.h5", "--role", "fourth=blind"), "there is no slide fourth"),
        (("dataset", "session.h5", "--workers", "2"), "--workers is for a cluster"),
        (("dataset", "nothing.h5"), "nothing.h5"),
        (("export", "session.h5", "--pairs", "bmp"), "pairs are exported as tiff or png"),
        (("export", "session.pairs.h5", "--kind", "ome-tiff"), "choose tiff or png"),
    ],
)
def test_what_can_not_be_is_told_in_a_line(small_job, command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    for name in ("session.h5", "session.pairs.h5"):
        shutil.copy(small_job.folder / name, tmp_path)
    status, output, said = command(*arguments)
    assert (status, output) == (2, ""), said
    assert words in said.splitlines()[-1]
