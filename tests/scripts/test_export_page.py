"""The page that draws with a network in the browser."""

import base64
import gzip
import hashlib
import json
import re

import numpy as np
import pytest
import torch

from networks.generator import Generator
from networks.sampling import draw_seed
from scripts import export
from scripts.exporting import page as pages
from tests.conftest import CHROMIUM, ROOT
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, save_snapshot

DEMO = ROOT / "docs" / "demo" / "index.html"


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """opened(path) -> page that has drawn; nothing may go wrong in it, and nothing be asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    requests, errors = [], []

    def open_file(path):
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn='1']", timeout=120_000)
        return page

    yield open_file
    context.close()
    assert not errors
    assert all(url.startswith(("file:", "blob:", "data:")) for url in requests), requests


def pixels(page, selector):
    """RGBA [H, W, 4] of a canvas."""
    script = """canvas => {
      const {width, height, data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return [height, width, Array.from(data)];
    }"""
    height, width, data = page.eval_on_selector(selector, script)
    return np.array(data, dtype=np.int64).reshape(height, width, 4)


def draw(page, z, psi, label=0):
    found = page.evaluate(
        "async ([z, psi, label]) => { const {dims, data} = await draw(z, psi, label); return [dims, Array.from(data)]; }",
        [z.flatten().tolist(), psi, label],
    )
    return torch.tensor(found[1]).view(found[0])


def move(page, slider, value, drawn):
    page.fill(slider, str(value))
    page.wait_for_selector(f"body[data-drawn='{drawn}']", timeout=120_000)


def test_the_demo_draws(opened):
    page = opened(DEMO)
    G = load_generator(ROOT / "pretrained" / "emoji32.safetensors")
    z = torch.randn(2, 256)
    for psi in (1, 0.5):
        torch.testing.assert_close(draw(page, z, psi), G(z, truncation_psi=psi), rtol=0, atol=1e-4)

    for selector, seed in (("#large", 0), (".tile:nth-child(8) canvas", 7)):
        wanted = draw_seed(G, seed).permute(1, 2, 0).numpy().astype(np.int64)
        found = pixels(page, selector)
        assert wanted.std() > 10 and np.abs(found[..., :3] - wanted).max() <= 1 and (found[..., 3] == 255).all()

    before = pixels(page, ".tile:nth-child(8) canvas")
    move(page, "#psi", 0.5, drawn=2)
    after = pixels(page, ".tile:nth-child(8) canvas")
    wanted = draw_seed(G, 7, psi=0.5).permute(1, 2, 0).numpy()
    assert np.abs(after - before).mean() > 1 and np.abs(after[..., :3] - wanted).max() <= 1


def test_the_demo_is_that_of_this_checkout():
    """Made anew whenever template, runtime or network change: `python -m scripts.export --network emoji32 --page docs/demo`."""
    text = DEMO.read_text(encoding="utf-8")
    assert len(text) < 12 * 2**20
    for name in ("page.css", "page.js"):
        assert (pages.TEMPLATE / name).read_text(encoding="utf-8").strip() in text, name
    block = lambda name: base64.b64decode(re.search(rf'id="{name}">([^<]*)<', text)[1])
    assert gzip.decompress(block("ort-code")) == pages.CODE.read_bytes() and block("ort-wasm") == pages.WASM.read_bytes()
    network = ROOT / "pretrained" / "emoji32.safetensors"
    for name in ("mapping", "synthesis"):
        assert hashlib.sha256(network.read_bytes()).hexdigest().encode() in gzip.decompress(block(name)), name


def test_the_runtime_is_the_package_s():
    table = (pages.RUNTIME / "README.md").read_text(encoding="utf-8")
    for contents in (pages.CODE.read_bytes(), gzip.decompress(pages.WASM.read_bytes())):
        assert hashlib.sha256(contents).hexdigest() in table


def test_nothing_in_a_page_is_taken_for_markup():
    G = Generator(8, channel_base=64, channel_max=8, z_dim=4, style_depth=2, c_dim=2)
    names = ["</script><script>alert(1)", "{{JS}}"]
    text = pages.page(G, {"mapping": b"m", "synthesis": b"s"}, names, "<b>name</b>")
    assert "alert(1)" in text and "</script><script>alert" not in text and "<b>name" not in text
    assert json.loads(re.search(r'id="config">([^<]*)<', text)[1])["classes"] == names
    assert text.count("const config = JSON.parse") == 1


@pytest.mark.slow
def test_a_page_of_a_conditional_network(opened, tmp_path):
    torch.manual_seed(0)
    G = Generator((8, 16), img_channels=4, c_dim=3, channel_base=64, channel_max=16, z_dim=8, style_depth=2).eval()
    for p in G.synthesis.parameters():
        torch.nn.init.normal_(p, std=0.5)
    save_snapshot(tmp_path / "network.safetensors", "generator", G, label_names=["cat", "dog", "cow"])
    assert "written" in call(export.main, "--network", tmp_path / "network.safetensors", "--page", tmp_path / "page")
    page = opened(tmp_path / "page" / "index.html")
    assert page.locator("#class option").all_inner_texts() == ["cat", "dog", "cow"]
    z = torch.randn(1, 8)
    for label in range(3):
        torch.testing.assert_close(draw(page, z, 0.7, label), G(z, torch.eye(3)[[label]], 0.7), rtol=0, atol=1e-4)
    before = pixels(page, "#large")
    page.select_option("#class", "2")
    page.wait_for_selector("body[data-drawn='2']")
    wanted = draw_seed(G, 0, torch.eye(3)[[2]]).permute(1, 2, 0).numpy().astype(np.int64)
    found = pixels(page, "#large")
    assert before.shape == (8, 16, 4) and not np.array_equal(found, before)
    opaque = wanted[..., 3] == 255  # a canvas keeps colours times alpha
    assert np.abs(found - wanted)[..., 3].max() <= 1 and np.abs(found - wanted)[opaque].max() <= 1


def test_the_demo_by_keyboard_and_on_a_phone(opened):
    page = opened(DEMO)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.focus(".tile")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    chosen = page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    assert page.inner_text("#name-a") == chosen == "5"
    page.wait_for_selector("#large[data-shown='5 1 0']")
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "emoji32-5.png"
    from PIL import Image

    picture = Image.open(download.value.path())
    assert picture.size == (512, 512)
    G = load_generator(ROOT / "pretrained" / "emoji32.safetensors")
    wanted = draw_seed(G, 5).permute(1, 2, 0).numpy().astype(np.int64)
    assert np.abs(np.asarray(picture)[8::16, 8::16, :3] - wanted).max() <= 1
