"""`mobilescope train` beyond the quick preset: from a pair file, a student from its teacher, and what it leaves."""

from __future__ import annotations

from integration.small_job import mobilescope

from mobilescope.data.layout import pairs_path
from mobilescope.learn.checkpoint import read_card


def test_a_student_is_trained_from_a_pair_file_and_goes_on(small_job, tmp_path):
    arguments = ("train", pairs_path(small_job.session), "--distil", small_job.model, "--out", "small.pt", "--json")
    done = mobilescope(*arguments, "--steps", 3, folder=tmp_path).json()
    assert (done["steps"], done["model"]) == (3, "small.pt")
    card = read_card(tmp_path / "small.pt")
    teacher = read_card(small_job.model)
    assert card.training["config"]["preset"] == "distilled"
    assert card.training["teacher"]["network"] == teacher.network.model_dump()
    assert card.network != teacher.network
    assert card.training["sources"][0]["file"] == "session.pairs.h5"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "small.csv", "small.last.pt", "small.panels", "small.pt",
    ]
    enhanced = mobilescope("enhance", "small.pt", small_job.session, "out", folder=tmp_path)
    assert enhanced.status == 0, enhanced.errors
    again = mobilescope(*arguments, "--steps", 3, folder=tmp_path)
    assert again.json()["best_step"] == done["best_step"]
    other = mobilescope(*arguments, "--steps", 4, folder=tmp_path)
    assert other.status == 2
    assert "other settings" in other.errors


def test_a_seed_that_no_generator_takes_is_refused(tmp_path):
    (tmp_path / "any.h5").write_bytes(b"")
    run = mobilescope("train", "any.h5", "--seed", 10**24, "--steps", 1, folder=tmp_path)
    assert run.status == 2
    assert "--seed" in run.errors
    assert "Traceback" not in run.errors
