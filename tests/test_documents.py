"""The documents: every command parses, every link leads somewhere, and every file, test and option that is named exists."""

import ast
import importlib
import itertools
import json
import re
import shlex
import shutil
import tomllib

import click
import pytest
from PIL import Image

from tests.conftest import ROOT

LISTS = [ROOT / "pretrained" / "README.md", ROOT / "scripts" / "README.md"]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *LISTS])
PROGRAMS = ("python", "make", "pip", "conda", "source", "pre-commit", "git", "docker")
FOLDERS = ("networks", "training", "metrics", "torch_utils", "scripts", "tests", "docs", "datasets", "pretrained")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"`([^`]+)`")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def text_of(path):
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def prose_of(path):
    """Without fenced and indented blocks: what can hold links."""
    return re.sub(r"^    .*$", "", BLOCK.sub("", text_of(path)), flags=re.M)


def names(path):
    return path.relative_to(ROOT).as_posix()


def commands(path):
    """Every line of a block, and every piece of code in a sentence, that starts with the name of a program."""
    text = text_of(path)
    lines = [line for language, block in BLOCK.findall(text) if language in ("", "sh") for line in block.splitlines()]
    for line in filter(str.strip, lines):
        assert line.split()[0] in PROGRAMS, f"{names(path)}: {line!r} is in a block of commands"
    lines += re.findall(r"^    (.*)$", BLOCK.sub("", text), re.M)
    lines += [" ".join(span.split()) for span in SPAN.findall(prose_of(path))]
    return [line for line in lines if line.split() and line.split()[0] in PROGRAMS and len(line.split()) > 1]


def makefile_commands():
    recipe = re.findall(r"^\t\$\(RUN\) (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return [f"python {line}" for line in recipe]


NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def notebook_commands():
    """Those of its calls of `sh`, with what its first cell says in the place of each {NAME}."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    values = {}
    exec(code[0], values)
    calls = [node for node in ast.walk(ast.parse("\n".join(code))) if isinstance(node, ast.Call)]
    return [eval(ast.unparse(call.args[0]), values) for call in calls if getattr(call.func, "id", "") == "sh"]


CASES = [(names(path), command) for path in DOCUMENTS for command in commands(path)]
CASES += [("Makefile", command) for command in makefile_commands()]
CASES += [(names(NOTEBOOK), command) for command in notebook_commands()]


def entry(words):
    """The click command of `python WORDS`, and what is left for it."""
    module = words.pop(1) if words[0] == "-m" else words[0].removesuffix(".py").replace("/", ".")
    if (ROOT / module.replace(".", "/")).is_dir():  # `python -m` of a package
        module += ".__main__"
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"there is no {module}"
    command, rest = importlib.import_module(module).main, words[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command, rest


def check_command(line):
    program, *words = [word for word in shlex.split(line, comments=True) if word != "…"]
    if program == "docker" and words[0] == "run" and "adaconv" in words:  # the image runs Python
        program, words = "python", words[words.index("adaconv") + 1 :]
    for word in words:
        if word.split("/")[0] in FOLDERS and "/" in word:
            assert (ROOT / word).exists(), f"{word} is not there"
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert set(words) <= set(targets)
    elif program == "pip" or words[:2] == ["-m", "pip"]:
        check_installation(words)
    elif program == "conda":
        assert "-f" not in words or (ROOT / words[words.index("-f") + 1]).is_file()
    elif program == "python" and words[:2] not in (
        ["-m", "venv"],
        ["-m", "pytest"],
        ["-m", "ruff"],
        ["-m", "mypy"],
        ["-m", "mkdocs"],
    ):
        command, rest = entry(words)
        assert not isinstance(command, click.Group) or not rest, f"{command.name} has no {rest[:1]}"
        choices = [] if "--help" in rest else [word.split("|") for word in rest]
        for chosen in itertools.product(*choices):  # `--preset tiny|c1024` are two commands
            command.make_context(command.name, list(chosen), resilient_parsing=not choices)


def check_installation(words):
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(EXTRAS), extras
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()


@pytest.mark.parametrize("where, line", CASES, ids=[f"{where}: {line[:60]}" for where, line in CASES])
def test_commands_parse(where, line):
    """Script, options, choices and ranges are those that exist; required options are there."""
    try:
        check_command(line)
    except click.ClickException as error:
        pytest.fail(f"{where}: {line}: {error.format_message()}")


def test_commands_are_found():
    found = [line for where, line in CASES if where == "README.md"]
    assert len(found) >= 20 and "make demo" in found and any("stylize.py" in line for line in found)
    assert {where for where, _ in CASES} >= {
        *("Makefile", "docs/training.md", "docs/metrics.md", "docs/performance.md", "docs/how-to.md", "docs/tutorial.ipynb")
    }


@pytest.mark.parametrize(
    "line",
    [
        "python trein.py --outdir runs --data x",
        "python train.py --outdir runs --data x --yes",
        "python train.py --outdir runs --data x --cfg huge",
        "python train.py --outdir runs --data x --style-mixing 2",
        "python train.py --data x",
        "python -m scripts.bench nothing --tiny",
        "python generate.py --seeds 0-x --outdir out",
        "python train.py --outdir runs --data datasets/nothing.zip",
        "make nothing",
        "pip install -e .[nothing]",
    ],
)
def test_wrong_commands_are_noticed(line):
    with pytest.raises((click.ClickException, AssertionError)):
        check_command(line)


def anchors(path):
    """Names that GitHub gives to headings."""
    found = []
    for heading in re.findall(r"^#+ (.*)$", BLOCK.sub("", text_of(path)), re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_links_and_pictures_are_there(path):
    text = prose_of(path)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\b(?:src|href)="([^"]+)"', text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists() and file.is_relative_to(ROOT), f"{names(path)} points to {target}"
        if re.fullmatch(r"L\d+", anchor):
            assert int(anchor[1:]) <= len(file.read_text(encoding="utf-8").splitlines())
        elif anchor:
            assert anchor in anchors(file), f"{names(path)} points to {target}; {names(file)} has {', '.join(anchors(file))}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_files_and_tests_that_are_named_exist(path):
    files = list(ROOT.glob("tests/**/test_*.py"))
    tests = {file.name for file in files}  # two folders may have a file of one name
    functions = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for span in SPAN.findall(prose_of(path)):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
            assert (ROOT / span).exists(), f"{names(path)} names {span}"
        elif re.fullmatch(r"test_\w+\.py", span):
            assert span in tests, f"{names(path)} names {span}"
        elif re.fullmatch(r"test_\w+", span):
            assert f"def {span}(" in functions, f"{names(path)} names {span}"


def all_commands():
    """Name of a module -> its command."""
    found = {}
    for path in [*ROOT.glob("*.py"), *ROOT.glob("scripts/**/*.py")]:
        if re.search(r"^@(click\.)?(command|group)\(", path.read_text(encoding="utf-8"), re.M):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name] = importlib.import_module(name).main
    return found


def test_commands_are_listed():
    listed = re.findall(r"`([a-z_]+)`", LISTS[1].read_text(encoding="utf-8"))
    there = {name.split(".")[-1] for name in all_commands() if name.startswith("scripts.")} | {"viewer"}
    there -= {"__main__", *(path.stem for path in ROOT.glob("scripts/benchmarks/*.py"))}  # `bench` lists its own
    assert there == set(listed), there ^ set(listed)


def all_options():
    found = {"--help", "--force-reinstall", "--max-restarts"}  # the latter two of pip and torchrun
    for command in all_commands().values():
        for option in command.params:
            found.update(option.opts + option.secondary_opts)
    return found


def test_options_that_are_named_exist():
    known = all_options()
    for path in DOCUMENTS:
        if path.name in ("CHANGELOG.md", "coming-from-stylegan.md"):  # they name options that are gone, or are others'
            continue
        for span in SPAN.findall(prose_of(path)):
            if span.startswith("--"):
                option = re.match(r"--[\w-]+", span)[0]
                assert option in known, f"{names(path)} names {option}"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if "```python" in text_of(path)], ids=names)
def test_python_in_the_documents_runs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for language, block in BLOCK.findall(text_of(path)):
        if language == "python":
            exec(compile(block, names(path), "exec"), {})


def test_the_front_page_is_short_and_the_index_whole():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 220
    index = text_of(ROOT / "docs" / "README.md")
    for path in [*ROOT.glob("docs/*.md"), NOTEBOOK]:
        assert path.name == "README.md" or f"]({path.name})" in index, f"docs/README.md leaves out {path.name}"


SHORT = {  # what makes the commands of the front page short
    "train.py": "--cfg tiny --kimg 0.008 --metrics none --device cpu",
    "train_style.py": "--kimg 0.002 --device cpu --hold-out-content 1 --hold-out-style 1",
    "calc_metrics.py": "--device cpu",
    "generate.py": "--device cpu",
    "stylize.py": "--device cpu",
    "scripts/projector.py": "--steps 4",
}
LARGE = ("fid50k_full", "fd10k_full", "fd1k_full", "scripts.bench", "--hours", "scripts.viewer")  # long: these only parse


@pytest.mark.slow
def test_the_front_page_can_be_followed(test_data, image_folder, run_command, tmp_path):
    """The table "I want to …", from its first row to its last, in a folder with photographs, paintings and a zip of classes."""
    weights = test_data / "weights" / "vgg16_to_conv4_1.safetensors"
    for name, count in (("photos", 4), ("paintings", 3)):
        image_folder(n=count, size=96, name=name)
    shutil.make_archive(str(tmp_path / "fashion32"), "zip", image_folder(n=20, size=32, labels=10))
    shutil.make_archive(str(tmp_path / "fashion32-test"), "zip", image_folder(n=30, size=32, labels=10, name="unseen"))
    shutil.copy(tmp_path / "photos" / "000.png", tmp_path / "photo.jpg")
    shutil.copy(tmp_path / "unseen" / "000.png", tmp_path / "face.png")
    with Image.open(tmp_path / "photo.jpg") as photo:  # regions: the upper half and the lower
        Image.linear_gradient("L").point(lambda x: 255 * (x > 127)).resize(photo.size, Image.Resampling.NEAREST).save(
            tmp_path / "regions.png"
        )
    for name in ("ground.jpg", "sky.jpg"):
        shutil.copy(tmp_path / "paintings" / "000.png", tmp_path / name)
    shutil.copy(tmp_path / "paintings" / "000.png", tmp_path / "painting.jpg")
    rows = [line for line in text_of(ROOT / "README.md").splitlines() if line.startswith("| ") and "`python " in line]
    failed = []
    for line in [SPAN.search(row)[1] for row in rows]:
        script, *words = shlex.split(line)[1:]
        if any(name in line for name in LARGE):
            continue
        if script == "-m":
            script = words.pop(0).replace(".", "/") + ".py"
        if script.endswith(("stylize.py", "train_style.py")):
            words += ["--encoder-weights", weights]
        finished = run_command(script, *words, *shlex.split(SHORT.get(script, "")), cwd=tmp_path, timeout=1200)
        if finished.returncode:
            failed.append(f"{line}: {finished.stderr[-300:]}")
    assert not failed, "\n".join(failed)
    for made in ("grid.png", "drawn.png", "table.png", "photos64.zip", "sneakers.png"):
        assert (tmp_path / made).is_file(), made
