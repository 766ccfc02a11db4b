"""Commands where a machine has little to give: each ends with what it was asked for, or with one line and its exit status."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.forked_command import PRELOADED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="places as Linux has them, and commands that are forked")


def nobody() -> None:
    """No home, and no line in /etc/passwd: as in a container that is started with a strange --user."""
    import pwd

    def unknown(*args):
        raise KeyError("getpwuid(): uid not found: 12345")

    pwd.getpwuid = pwd.getpwnam = unknown
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "ADACONV_CACHE", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)


def few_handles() -> None:
    limit("NOFILE", 20)


def little_memory() -> None:
    limit("AS", int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE") + (60 << 20))


def full_disk() -> None:
    limit("FSIZE", 500)


def no_temporary_folder() -> None:
    os.environ["TMPDIR"] = "/does/not/exist"
    tempfile.tempdir = None
    tempfile._candidate_tempdir_list = lambda: ["/does/not/exist"]


def nothing_can_be_written_here() -> None:
    os.chdir("/proc")


def nobody_listens() -> None:
    os.close(1)
    os.close(2)
    sys.stdout = sys.stderr = None


def limit(name: str, value: int) -> None:
    import resource

    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


PLACES = [nobody, few_handles, little_memory, full_disk, no_temporary_folder, nothing_can_be_written_here, nobody_listens]
MAY_FAIL = [few_handles, little_memory, full_disk, no_temporary_folder]


def run_there(place, script: str, words: list[str], files: list[Path]) -> None:
    for number, path in zip((1, 2), files):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path[0], sys.argv = str(ROOT), [str(ROOT / script), *words]
    place()
    runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Name -> (script, words, what it writes), for an output folder."""
    folder = tmp_path_factory.mktemp("given")
    images = folder / "images"
    images.mkdir()
    for i in range(1000):  # as many as the smallest metric wants
        Image.new("RGB", (16, 16), (i % 256, 100, 255 - i % 256)).save(images / f"{i}.png")

    class Plain(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    torch.jit.script(Plain()).save(folder / "mine.pt")

    def make(name: str, out: Path) -> tuple[str, list[str], str]:
        train = f"--data {images} --cfg tiny --cbase 64 --cmax 8 --batch 2 --kimg 0.002 --metrics none --workers 0 --device cpu"
        score = f"--images {images} --data {images} --metrics fd1k --detector {folder / 'mine.pt'} --trust-code --workers 0"
        style = f"--content {images / '0.png'} --style {images / '1.png'} --style-size 32 --device cpu --output {out / 's.png'}"
        return {
            "train": ("train.py", f"--outdir {out} {train}".split(), "0*/training-state.pt"),
            "generate": ("generate.py", f"--seeds 0 --device cpu --outdir {out}".split(), "seed0000.png"),
            "stylize": ("stylize.py", style.split(), "s.png"),
            "calc_metrics": ("calc_metrics.py", f"{score} --device cpu --outdir {out}".split(), "*.jsonl"),
            "dataset_tool": ("scripts/dataset_tool.py", f"--source {images} --dest {out / 'd.zip'}".split(), "d.zip"),
        }[name]

    return make


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize(
    "name",
    [
        "generate",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("train", "stylize", "calc_metrics", "dataset_tool")),
    ],
)
def test_places(commands, tmp_path, name, place):
    out, files = tmp_path / "out", [tmp_path / "stdout", tmp_path / "stderr"]
    out.mkdir()
    script, words, result = commands(name, out)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=run_there, args=(place, script, words, files))
    process.start()
    process.join(120)
    assert not process.is_alive()
    said = files[1].read_text()
    finished = subprocess.CompletedProcess(words, process.exitcode, files[0].read_text(), said)
    assert "Traceback" not in said and "should not have" not in said, said
    if finished.returncode == 0:
        assert list(out.glob(result)), finished
    else:
        assert place in MAY_FAIL and finished.returncode == 2, finished
        assert [line for line in said.splitlines() if not line.startswith(("note: ", "warning: "))][0].startswith("error: "), (
            said
        )
        assert said.count("\nerror: ") + said.startswith("error: ") == 1, said
        assert not list(out.glob("**/*.writing")), "nothing half-written is left"
