"""The project's own promises: imports go down only, and every file is written whole."""

import ast
import re
import subprocess
import sys

from conftest import ROOT

FLOOR = {"torch_utils": 0, "networks": 1, "training": 2, "metrics": 2}
THE_ONE_EXCEPTION = ("torch_utils/checkpoint.py", "networks")  # load_generator, whose place is part of the interface


def sources():
    found = [path for path in ROOT.rglob("*.py") if not {".venv", "build"} & set(path.relative_to(ROOT).parts)]
    assert len(found) > 20
    return found


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_imports_go_down_only():
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        here = FLOOR.get(name.split("/")[0])
        for package in imported_packages(path):
            if here is None or package not in FLOOR or package == name.split("/")[0]:
                continue
            assert FLOOR[package] < here or (name, package) == THE_ONE_EXCEPTION, f"{name} imports {package}"


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


def test_no_file_is_written_in_place():
    """Everything goes through atomic_write: an open for writing elsewhere is a file that a crash can halve."""
    allowed = {"torch_utils/files.py", "torch_utils/stats.py"}
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name not in allowed and not name.startswith("tests/"):
            assert not re.search(r"""(?<!atomic_)\bopen\([^)]*,\s*["'](w|a|x)b?\+?["']""", path.read_text(encoding="utf-8")), (
                name
            )
