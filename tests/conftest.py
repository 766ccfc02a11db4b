import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.forked_command import can_fork, run_forked

ROOT = Path(__file__).resolve().parent.parent
EMOJI = ROOT / "datasets" / "emoji32.zip"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the commands that tests run


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with outside data; tests that need it skip without it."""
    path = os.environ.get("ADACONV_TEST_DATA")
    if not path:
        pytest.skip("ADACONV_TEST_DATA is not set: it names a folder with data/ and weights/")
    return Path(path).resolve()


@pytest.fixture(scope="session")
def run_command():
    """run_command("train.py", "--data", …) -> finished process; from another folder, with one thread."""

    def run(script: str, *arguments, cwd: Path | None = None, timeout: float = 300, env: dict | None = None):
        cwd, own, arguments = cwd or ROOT / "tests", env or {}, [str(argument) for argument in arguments]
        if can_fork(own):
            return run_forked(ROOT / script, arguments, cwd, os.environ | own, timeout)
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            cwd=cwd,
            env=os.environ | own,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
        )

    return run


@pytest.fixture
def image_folder(tmp_path):
    """image_folder(n=8, size=16, mode="RGB", labels=None) -> folder of smooth random images."""

    def make(n: int = 8, size: int = 16, mode: str = "RGB", labels: int | None = None, name: str = "images") -> Path:
        import json

        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.RandomState(0)
        for i in range(n):
            pixels = rng.randint(0, 256, (4, 4, len(mode)), dtype=np.uint8)
            Image.fromarray(pixels[..., 0] if len(mode) == 1 else pixels).resize((size, size)).save(folder / f"{i:03d}.png")
        if labels:
            table = {"labels": [[f"{i:03d}.png", i % labels] for i in range(n)]}
            (folder / "dataset.json").write_text(json.dumps(table))
        return folder

    return make
