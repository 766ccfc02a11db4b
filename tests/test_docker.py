"""The Dockerfile, which nothing here builds: what it copies and installs exists, and it says the same as the project."""

import re
import tomllib

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


@pytest.fixture(scope="module")
def steps():
    return instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def copied(steps):
    return [source for name, words in steps if name == "COPY" for source in words.split()[:-1]]


def test_what_is_copied_exists_and_is_not_ignored(steps):
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    for source in copied(steps):
        assert (ROOT / source).exists() and source not in lines, source
    for needed in (
        "networks",
        "training",
        "metrics",
        "torch_utils",
        "scripts",
        "datasets",
        "pretrained",
        "train.py",
        "hubconf.py",
    ):
        assert (ROOT / needed).exists() and needed not in lines
    assert {".git", ".venv", "runs", "out"} <= set(lines)


def test_the_installation_is_that_of_the_project(steps):
    (install,) = [words for name, words in steps if name == "RUN" and "pip install" in words]
    assert "-c constraints.txt" in install and "--no-cache-dir" in install
    extras = re.search(r"\[([\w,]+)\]", install)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) - {"dev"}
    order = [name for name, words in steps]
    before = copied(steps[: order.index("RUN")])
    assert {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"]} <= set(before)
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for requirement in PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]:
        assert re.match(r"[\w-]+", requirement)[0] in pinned, f"{requirement}: any version would do"


def test_python_is_one_that_the_project_takes(steps):
    base = dict(steps)["FROM"]
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", base).groups()))
    assert version >= tuple(map(int, re.search(r"(\d+)\.(\d+)", PROJECT["requires-python"]).groups()))


def test_it_runs_as_nobody_special_and_fetches_nothing(steps):
    names = [name for name, _ in steps]
    user = dict(steps)["USER"]
    assert user not in ("root", "0") and names.index("USER") < names.index("ENTRYPOINT")
    assert any("useradd" in words and user in words for name, words in steps if name == "RUN")
    environment = dict(word.split("=", 1) for name, words in steps if name == "ENV" for word in words.split())
    assert environment["HF_HUB_OFFLINE"] == "1" and environment["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not [name for name in names if name in ("ADD", "EXPOSE")]
    assert dict(steps)["ENTRYPOINT"] == '["python"]' and (ROOT / re.findall(r'"([^"]+)"', dict(steps)["CMD"])[0]).is_file()
