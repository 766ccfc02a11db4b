"""The notebook: somebody's pictures go in, and a model, its drawings, a score and a page come out."""

import json
import re

import pytest
from PIL import Image

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def cells(kind):
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def tagged(cell, tag):
    return tag in cell["metadata"].get("tags", [])


def test_the_stored_notebook_is_small_and_clean():
    """Pictures and scores are kept; errors, counters, and paths of the machine that it ran on are not."""
    assert NOTEBOOK.stat().st_size < 500_000
    outputs = [output for cell in cells("code") for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not any(output["output_type"] == "error" for output in outputs)
    assert all(cell["execution_count"] is None for cell in cells("code"))
    texts = ["".join(output.get("text", "")) for output in outputs]
    assert not any(re.search(r"(^|\s)/\w+/|left$", text, re.M) for text in texts)


def test_the_stored_notebook_names_its_settings_first():
    first, *others = cells("code")
    assert tagged(first, "parameters")
    names = re.findall(r"^(\w+) = ", "".join(first["source"]), re.M)
    assert names == ["PICTURES", "SIDE", "KIMG", "SCORE", "STEPS", "OUT"]
    for name in names:
        assert any(name in "".join(cell["source"]) for cell in others), f"{name} changes nothing"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of results, and the notebook after it ran with 0.2 kimg on forty pictures of odd sizes."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "pictures").mkdir()
    for i in range(40):
        hues = Image.linear_gradient("L").rotate(9 * i).resize((50 + i, 40))
        Image.merge("HSV", [hues, hues.rotate(180), hues.point(lambda x: 255)]).convert("RGB").save(
            folder / "pictures" / f"{i:02d}.{'jpg' if i % 2 else 'png'}"
        )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    values = dict(PICTURES=str(folder / "pictures"), KIMG=0.2, STEPS=2, OUT=str(folder / "out"))
    notebook.cells[1].source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
    return folder / "out", notebook


@pytest.mark.slow  # a minute of one core, most of it the score
def test_the_tutorial_runs(finished):
    out, notebook = finished
    assert len(list((out / "runs").glob("00000-*/network-snapshot-*.safetensors"))) >= 1
    for name in ("pictures.zip", "seeds.png", "mixing/grid.png", "projected/projected_w.npz", "projected/path.png"):
        assert (out / name).is_file(), name
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "40 images" in printed and "real vs. real" in printed and "Done." in printed
    assert sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])) == 5


@pytest.mark.slow
def test_the_tutorial_ends_with_a_page(finished):
    out, _ = finished
    assert (out / "page" / "index.html").is_file()
