"""`--track`: curves go to wandb or trackio where that was asked for, and nowhere else."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

import train
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.run_dir import TRACKING
from torch_utils.stats import Records
from torch_utils.tracking import start_tracking


@pytest.fixture
def fake(monkeypatch):
    """Modules in the places of both: `began` has what each run was begun with, `sent` what was logged, `ended` who ended."""
    seen = SimpleNamespace(began=[], sent=[], ended=[])
    for name in ("wandb", "trackio"):
        module = ModuleType(name)

        def init(name=name, *, project, config, resume, **names):
            seen.began.append(dict(project=project, config=config, resume=resume, **names))
            return SimpleNamespace(
                log=lambda numbers, step: seen.sent.append((step, numbers)), finish=lambda: seen.ended.append(names)
            )

        module.init = lambda init=init, **words: init(**{"name": None} | words)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_is_tracked_and_goes_on_in_the_same_curves(name, fake, image_folder, tmp_path):
    words = ["--outdir", tmp_path / "runs", "--data", image_folder(8), *SHORT, *NO_METRICS]
    call(train.main, *words)
    assert not fake.began and not list(tmp_path.glob(f"runs/*/{TRACKING}"))
    (run,) = (tmp_path / "runs").iterdir()
    call(train.main, "--outdir", tmp_path / "runs", "--resume", run, "--track", name, "--kimg", 0.1)
    assert len(fake.began) == len(fake.ended) == 1 and fake.began[0]["resume"] == "allow"
    config = fake.began[0]["config"]
    assert config["batch"] == 4 and "data" not in config and str(tmp_path) not in json.dumps(config)
    step, numbers = fake.sent[-1]
    assert step == 100 and numbers["stats/loss_D"] > 0 and "stats/nimg" not in numbers
    identifier = json.loads((run / TRACKING).read_text())[name]
    assert identifier.startswith(run.name)
    call(train.main, "--outdir", tmp_path / "runs", "--resume", run, "--kimg", 0.2)
    assert json.loads((run / TRACKING).read_text()) == {name: identifier} and len(fake.began) == 2
    call(train.main, "--outdir", tmp_path / "runs", "--resume", run, "--track", "none", "--kimg", 0.3)
    assert len(fake.began) == 2


def test_one_identifier_for_each_tracker(fake, tmp_path):
    assert start_tracking("none", tmp_path, {}) is None and not list(tmp_path.iterdir())
    for name in ("wandb", "trackio", "wandb"):
        start_tracking(name, tmp_path, {})
    first, _, last = fake.began
    assert first == last and set(json.loads((tmp_path / TRACKING).read_text())) == {"wandb", "trackio"}
    (tmp_path / TRACKING).write_text("[3]")
    records = Records(tmp_path)
    records.tracker = start_tracking("trackio", tmp_path, {})
    records.write("metric-fid.jsonl", dict(nimg=5, value=2.5, metric="fid", extrapolated=True))
    records.close()
    assert fake.sent == [(5, {"metric-fid/value": 2.5})]


def test_what_is_not_installed_or_fails_is_one_line(fake, image_folder, tmp_path, monkeypatch):
    words = ["--outdir", tmp_path / "runs", "--data", image_folder(8), *SHORT, *NO_METRICS, "--track", "wandb"]

    def fail(**_):
        raise RuntimeError("api_key not configured\nuse wandb login")

    monkeypatch.setattr(sys.modules["wandb"], "init", fail)
    with pytest.raises(InputError, match="^--track wandb: api_key not configured$"):
        call(train.main, *words)
    assert not list((tmp_path / "runs").iterdir())
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="^--track wandb: it is not installed; `pip install wandb` brings it$"):
        call(train.main, *words)
    assert not list((tmp_path / "runs").iterdir())
