"""A run that goes on holds out what it held out when it began, whatever has become of its folders and options."""

import json
import shutil

import pytest

import train_style
from scripts import card_style
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.run_dir import HELD_OUT
from training.run.run_records import RunRecords
from training.style_transfer.held_out import check_held_out, read_held_out, write_held_out


@pytest.fixture
def run(image_folder, tmp_path):
    """run(…) -> what train_style.py prints of a training of one step, with these options more."""
    for name in ("photos", "paintings"):
        image_folder(6, 40, name=name)

    def train(*more):
        words = ["--cfg", "small", "--content", tmp_path / "photos", "--style", tmp_path / "paintings", "--transfer", "adain"]
        words += ["--crop", 32, "--style-crop", 32, "--resize", 40, "--batch", 2, "--kimg", 0.002, "--device", "cpu"]
        words += ["--hold-out-content", 1, "--hold-out-style", 2]
        return call(train_style.main, "--outdir", tmp_path / "runs", *words, *more)

    return train


def test_a_run_writes_down_what_it_holds_out_and_a_resume_holds_out_the_same(run, tmp_path):
    run()
    (run_dir,) = (tmp_path / "runs").iterdir()
    held_out = {"content": ["005.png"], "style": ["004.png", "005.png"]}
    assert json.loads((run_dir / HELD_OUT).read_text()) == held_out
    run("--kimg", 0.004, "--resume", run_dir)
    shutil.copy(tmp_path / "photos" / "000.png", tmp_path / "photos" / "006.png")
    problem = "the content 005.png was held out when the run began, and is not now; wanted --content and --hold-out-content…"
    for resume in (run_dir, "auto"):
        with pytest.raises(InputError, match=problem):
            run("--kimg", 0.006, "--resume", resume)
    (tmp_path / "photos" / "006.png").unlink()
    with pytest.raises(InputError, match="the content 004.png is held out now, and was not when the run began"):
        run("--kimg", 0.006, "--resume", run_dir, "--hold-out-content", 2)
    (tmp_path / "paintings" / "005.png").unlink()
    with pytest.raises(InputError, match="the style 003.png is held out now"):
        run("--kimg", 0.006, "--resume", run_dir)
    assert json.loads((run_dir / HELD_OUT).read_text()) == held_out
    (run_dir / HELD_OUT).unlink()  # a run of before this file
    run("--kimg", 0.006, "--resume", run_dir)
    assert not (run_dir / HELD_OUT).exists()


def test_a_damaged_file_is_one_error(tmp_path):
    names = {"content": ["a"], "style": ["b\udcff"]}
    assert read_held_out(tmp_path) is None
    check_held_out(tmp_path, names)
    write_held_out(tmp_path, names)
    assert read_held_out(tmp_path) == names
    check_held_out(tmp_path, names)
    for damaged in ("", "[]", '{"content": ["a"]}', '{"content": ["a"], "style": [1]}', '{"content": "a", "style": []}'):
        (tmp_path / HELD_OUT).write_text(damaged)
        with pytest.raises(InputError, match=HELD_OUT):
            check_held_out(tmp_path, names)


def test_a_card_shows_what_the_run_held_out(run, tmp_path, monkeypatch):
    run()
    (run_dir,) = (tmp_path / "runs").iterdir()
    for name in ("photos", "paintings"):
        shutil.copy(tmp_path / name / "000.png", tmp_path / name / "006.png")
    read = []
    monkeypatch.setattr(card_style, "read_picture", lambda archive, name, size: read.append((archive.name, name)) or 1 / 0)
    for name in ("005.png", "006.png"):  # with the file, and without
        with pytest.raises(ZeroDivisionError):
            card_style.pictures(RunRecords(run_dir), None, run_dir / "card")
        assert read.pop() == ("photos", name)
        (run_dir / HELD_OUT).unlink(missing_ok=True)
