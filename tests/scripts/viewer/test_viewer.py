"""The viewer as a user has it: the command, its server, and its page in headless Chromium."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import generate
import stylize
from scripts import style_mixing
from tests.conftest import CHROMIUM, ROOT, needs_chromium
from tests.scripts.viewer.networks import save_generator, save_stylizer
from tests.style_fixtures import smooth
from tests.training.run.test_start import call
from torch_utils.archive import FORMATS
from torch_utils.images import save_png, to_uint8

pytest.importorskip("gradio", reason="needs the extra `viewer`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = needs_chromium
WAIT = 60_000  # milliseconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With networks and pictures; the server has its own folder of temporary files in it."""
    folder = tmp_path_factory.mktemp("viewer")
    save_generator(folder / "first.safetensors", 0, side=64, channel_base=1024, channel_max=128)  # widths of --cfg small
    save_generator(folder / "second.safetensors", 1, side=8, c_dim=2, names=["cat", "dog"])
    save_stylizer(folder)
    (folder / "temporary").mkdir()
    save_png(folder / "photo.png", to_uint8(smooth(48, 64))[0])
    (folder / "notes.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def viewer(folder):
    """Its address."""
    words = ["--network", "first.safetensors", "--network", "second.safetensors", "--stylizer", "style.safetensors"]
    words += ["--encoder-weights", "vgg.safetensors", "--port", "0", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "temporary")}
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.viewer", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"Viewer: +(http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("".join(said))
        for _ in range(600):  # it is listening a moment after it says so
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(found[1] + "/theme.css").close()
                break
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        said.append(process.communicate(timeout=30)[0])
    assert process.returncode == 143 and "Traceback" not in "".join(said), "".join(said)
    assert not [path for path in (folder / "temporary").rglob("*") if path.is_file() or path.name.startswith("adaconv")]


@pytest.fixture(scope="module")
def browser(viewer):
    """Headless, with one page; every request that it makes, and everything that it complains of, is looked at in the end."""
    requests, complaints = [], []
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 900}, accept_downloads=True)
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        browser.close()
    outside = [url for url in requests if not url.startswith((viewer + "/", "data:", "blob:" + viewer))]
    assert len(requests) > 20 and not outside, outside
    assert not complaints


@pytest.fixture
def page(browser, viewer):
    """As it is when it is opened: no test depends on what another has left."""
    browser.goto(viewer)
    browser.wait_for_selector("#picture img")
    settled(browser)
    return browser


def settled(page) -> None:
    """What has just appeared listens: the page has had nothing to do for a moment."""
    page.evaluate("new Promise(done => requestIdleCallback(() => setTimeout(() => requestIdleCallback(done), 100)))")


def unfold(page, where: str) -> None:
    page.locator(f"{where} button.label-wrap").click()
    settled(page)


def source(page, where: str = "#picture img") -> str:
    return page.locator(where).first.get_attribute("src")


@contextlib.contextmanager
def changes(page, where: str = "#picture img"):
    """What is done in the block changes this picture."""
    before = source(page, where)
    yield
    page.wait_for_function("([where, before]) => document.querySelector(where)?.src !== before", arg=[where, before])


def slide(page, where: str, value: float) -> None:
    page.locator(f"{where} input[type=range]").fill(str(value))


def command(page, where: str) -> list[str]:
    program, *words = shlex.split(page.locator(f"{where} textarea").input_value())
    assert program == "python"
    return words


def downloaded(page, where: str) -> Path:
    with page.expect_download() as waiting:
        page.locator(where).click()
    path = Path(tempfile.mkdtemp(dir=Path(waiting.value.path()).parent)) / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_seeds_sliders_and_parts(page, folder, tmp_path, monkeypatch):
    """Every control changes the picture; each downloaded picture has the bytes that the command beside it draws."""
    with changes(page), changes(page, "#picture-beside img"):
        page.locator("#seed input").fill("5")
    with changes(page):
        slide(page, "#psi", 0.6)
    picture = downloaded(page, "#picture .download")
    words = command(page, "#command")
    monkeypatch.chdir(folder)
    assert words[:5] == ["generate.py", "--network", "first.safetensors", "--seeds", "5"]
    call(generate.main, *words[1:-1], tmp_path)
    assert picture.name == "seed0005.png" and picture.read_bytes() == (tmp_path / "seed0005.png").read_bytes()

    unfold(page, "#parts")
    with changes(page):
        page.locator("#part-pointwise input").check()
    words = command(page, "#command")
    assert words[:2] == ["-m", "scripts.style_mixing"] and words[words.index("--part") + 1] == "pointwise"
    call(style_mixing.main, *words[2:-1], tmp_path)
    picture = downloaded(page, "#picture .download")
    assert picture.name == "5-4.png" and picture.read_bytes() == (tmp_path / "5-4.png").read_bytes()

    with changes(page):
        slide(page, "#position", 0.4)
    (tmp_path / "styles.npz").write_bytes(downloaded(page, "#picture .download >> nth=1").read_bytes())
    words = command(page, "#command")
    words[words.index("styles.npz")] = tmp_path / "styles.npz"
    call(generate.main, *words[1:-1], tmp_path)
    assert downloaded(page, "#picture .download >> nth=0").read_bytes() == (tmp_path / "proj00.png").read_bytes()


def test_without_a_network_beside(page):
    page.get_by_label("Beside it").click()
    page.get_by_role("option", name="none").click()
    page.locator("#picture-beside").wait_for(state="hidden")
    settled(page)
    with changes(page):
        slide(page, "#psi", 0.3)


def test_buttons_directions_and_kernels(page):
    with changes(page):
        page.locator("#next").click()
    unfold(page, "#directions")
    with changes(page):
        slide(page, "#direction-0", 2)
    with changes(page):
        page.get_by_role("button", name="Reset").click()
    unfold(page, "#mixing")
    with changes(page):
        page.locator("#mixing").get_by_role("button", name="fine").click()
    page.locator("#kernel-layer input").click()
    page.get_by_role("option", name="layer 1").click()
    page.wait_for_selector("#kernels img")
    with changes(page), changes(page, "#kernels img"):
        page.locator("#seed input").fill("6")
    page.locator("#seed input").fill("-1")
    page.get_by_role("alert").get_by_text("wanted a whole number from 0 to 4294967295").wait_for()
    page.locator("#seed input").fill("6")
    page.wait_for_selector("#picture img")


def test_another_network(page):
    """It has classes, and fewer layers. Each of two has its class, its file of styles, and its command."""
    page.get_by_label("Class of the one beside").click()
    with changes(page, "#picture-beside img"):
        page.get_by_role("option", name="dog").click()
    with changes(page), changes(page, "#picture-beside img"):
        slide(page, "#position", 0.5)
    files = [downloaded(page, f"{where} .download >> nth=1").name for where in ("#picture", "#picture-beside")]
    assert files == ["styles.npz", "styles-beside.npz"]
    assert [files[0] in command(page, "#command"), files[1] in command(page, "#command-beside")] == [True, True]
    with changes(page), changes(page, "#picture-beside img"):
        slide(page, "#position", 0)
    assert "dog" in command(page, "#command-beside") and "--class" not in command(page, "#command")
    page.get_by_label("Beside it").click()
    page.get_by_role("option", name="none").click()
    page.locator("#picture-beside").wait_for(state="hidden")
    unfold(page, "#mixing")
    layers = page.locator("#mix-layers input")
    assert layers.count() == 9
    page.get_by_label("Network", exact=True).click()
    with changes(page):
        page.get_by_role("option", name="second.safetensors").click()
    page.wait_for_function("document.querySelectorAll('#mix-layers input').length === 3")
    words = command(page, "#command")
    assert words[words.index("--class") + 1] == "cat" and "second.safetensors" in words
    page.get_by_label("Class", exact=True).click()
    with changes(page):
        page.get_by_role("option", name="dog").click()
    assert "dog" in command(page, "#command")


def test_style(page, folder, tmp_path, monkeypatch):
    """A file that is no picture gets its line; a photograph is drawn, as the command draws it."""
    page.get_by_role("tab", name="Style").click()
    page.locator("#content input[type=file]").set_input_files(folder / "notes.png")
    alert = page.locator("#drawing").get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == f"notes.png: found no image in it, wanted {', '.join(FORMATS)}"
    page.locator("#content").get_by_role("button", name=re.compile("clear|remove", re.I)).first.click()
    page.locator("#drawing .waiting").wait_for()
    page.locator("#content input[type=file]").set_input_files(folder / "photo.png")
    page.wait_for_selector("#drawing .picture img")
    assert list((folder / "temporary").rglob("photo.png"))  # where uploads are, until the server ends
    with changes(page, "#drawing .picture img"):
        page.locator("#styles .thumbnail-item").nth(1).click()
    words = command(page, "#style-command")
    picture = downloaded(page, "#drawing .download")
    monkeypatch.chdir(folder)
    words[words.index("--style") + 1] = str(ROOT / words[words.index("--style") + 1])
    words[-1] = str(tmp_path / "drawn.png")
    stylize.main.main(words[1:], standalone_mode=False)
    assert picture.name == "drawn.png" and picture.read_bytes() == (tmp_path / "drawn.png").read_bytes()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_nothing_else_is_served(viewer, folder):
    assert status(viewer + "/") == 200
    for path in (ROOT / "README.md", folder / "photo.png", folder / "first.safetensors", "/etc/hostname", "/etc"):
        for spelled in (path, f"{folder / 'temporary'}/../../../../../../../../{path}", str(path).replace("/", "%2F")):
            assert status(f"{viewer}/gradio_api/file={spelled}") in (403, 404), spelled
    for path in ("/gradio_api/info", "/docs", "/gradio_api/file=", "/gradio_api/file=https%3A%2F%2Fexample.com", "/README.md"):
        assert status(viewer + path) in (403, 404), path


def test_a_number_beyond_a_slider_is_the_nearest_on_it():
    from scripts.viewer.slider import slider_of

    slider = slider_of(0, 1.5, 1, step=0.01)
    assert [slider.preprocess(number) for number in (99, -3, 0.7, None)] == [1.5, 0, 0.7, 1]
    assert slider.get_block_name() == "slider"
