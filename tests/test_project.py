"""The project's own promises: imports go down only, and every file is written whole."""

import ast
import re
import subprocess
import sys

from tests.conftest import ROOT

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


def test_no_file_is_written_in_place():
    """Everything goes through atomic_write: an open for writing elsewhere is a file that a crash can halve."""
    allowed = {"torch_utils/files.py", "torch_utils/stats.py"}
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name not in allowed and not name.startswith("tests/"):
            assert not re.search(r"""(?<!atomic_)\bopen\([^)]*,\s*["'](w|a|x)b?\+?["']""", path.read_text(encoding="utf-8")), (
                name
            )
