"""The project's own promises: floors, dependencies in step, commands in the README that run."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

FLOOR = {"torch_utils": 0, "networks": 1, "training": 2, "metrics": 2}
THE_ONE_EXCEPTION = ("torch_utils/checkpoint.py", "networks")  # load_generator, whose place is part of the interface


def sources():
    found = [path for path in ROOT.rglob("*.py") if not {".venv", "build"} & set(path.relative_to(ROOT).parts)]
    assert len(found) > 20
    return found


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from (name.split(".")[0] for name in imported_names(node))


def imported_names(node: ast.AST) -> list[str]:
    """`a.b` of `import a.b` and of `from a.b import c`, with `a.b.c`, which may be a module, too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_imports_go_down_only():
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        here = FLOOR.get(name.split("/")[0])
        for package in imported_packages(path):
            if here is None or package not in FLOOR or package == name.split("/")[0]:
                continue
            assert FLOOR[package] < here or (name, package) == THE_ONE_EXCEPTION, f"{name} imports {package}"


WINGS = {"run": set(), "gan": {"run"}, "style_transfer": {"run"}}  # of training -> the other wings that it may import


def test_wings_of_training_keep_apart():
    for path in sources():
        folder, *rest = path.relative_to(ROOT).parts
        if folder == "training":
            wing = rest[0] if rest[0] in WINGS else None
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for name in imported_names(node):
                    other = name.split(".")[1] if name.startswith("training.") else None
                    allowed = WINGS.get(wing, set()) | {wing}  # what lies beside the wings belongs to none, and imports none
                    assert other not in WINGS or other in allowed, f"{path.relative_to(ROOT)} imports {name}"


MAX_FUNCTION, MAX_FILE = 60, 300  # lines; of a function, those after its signature and its docstring


def test_functions_and_files_are_short():
    """A longer one says why in its docstring, in a sentence with the words "lines, as"."""
    for path in sources():
        if ROOT / "tests" in path.parents:
            continue
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        reason = "lines, as" in (ast.get_docstring(tree) or "")
        assert text.count("\n") <= MAX_FILE or reason, f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines"
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                documented = ast.get_docstring(function) or ""
                body = function.body[1:] if documented else function.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= MAX_FUNCTION or "lines, as" in documented, (
                    f"{path.relative_to(ROOT)}: {function.name}: {length}"
                )


def test_nothing_imports_commands():
    commands = {path.stem for path in ROOT.glob("*.py")}
    for path in sources():
        if ROOT / "tests" not in path.parents:
            assert not commands & set(imported_packages(path)), path


def test_core_does_not_import_torchvision():
    code = (
        "import sys, train, generate, stylize, calc_metrics; "
        "bad = [m for m in ('torchvision', 'cleanfid.features', 'matplotlib') if m in sys.modules]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_conda_environment_and_pyproject_are_in_step():
    yaml = pytest.importorskip("yaml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"pytorch": "torch"}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = {}
    for entry in [e for e in environment if isinstance(e, str)] + next(e["pip"] for e in environment if isinstance(e, dict)):
        name, version = re.fullmatch(r"([A-Za-z0-9-]+)(.*)", entry).groups() if not entry.startswith("-e") else ("", "")
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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["dev"] + extras["offline"]:
        requirement = packaging.Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), text


def test_packages_are_all_declared():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for path in [*ROOT.glob("*/__init__.py"), *ROOT.glob("[!.]*/*/__init__.py")]:
        assert f'"{".".join(path.relative_to(ROOT).parts[:-1])}"' in text
    for path in ROOT.glob("*.py"):
        assert f'"{path.stem}"' in text


def test_readme_options_exist():
    """Every option that the README shows belongs to the command on its line."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = 0
    for script, rest in re.findall(r"^(?:\$ )?python ((?:scripts/)?\w+\.py)((?:.*\\\n)*.*)$", readme, re.M):
        command = importlib.import_module(script.removesuffix(".py").replace("/", ".")).main
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", rest):
            assert option in known, f"{script} has no {option}"
            shown += 1
    assert shown >= 8


def test_readme_links_and_pictures_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", readme):
        assert (ROOT / target).exists(), target


def test_no_file_is_written_in_place():
    """Everything goes through atomic_write: an open for writing elsewhere is a file that a crash can halve."""
    allowed = {"torch_utils/files.py", "torch_utils/stats.py"}
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name not in allowed and not name.startswith("tests/"):
            assert not re.search(r"""(?<!atomic_)\bopen\([^)]*,\s*["'](w|a|x)b?\+?["']""", path.read_text(encoding="utf-8")), (
                name
            )
