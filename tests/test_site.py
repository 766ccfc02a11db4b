"""The site of the documents: it builds without a warning, every link in it leads somewhere, and it asks nothing of anybody."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import filelock
import pytest

from tests.conftest import CHROMIUM, ROOT, needs_chromium

pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
NOT_LOADED = {"canonical", "next", "prev"}  # a link of these kinds is for search engines


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """Built once, by whichever process of pytest comes first."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder, log = shared / "site", shared / "site.log"
    with filelock.FileLock(shared / "site.lock"):
        if not log.is_file():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
            environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
            finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
            log.write_text(f"{finished.returncode}\n{finished.stderr}", encoding="utf-8")
    assert log.read_text(encoding="utf-8").startswith("0\n") and "WARNING" not in log.read_text(encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Names of a page's places, where its links lead, and what a browser loads for it."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADED and values.get(LOADED[tag]) and values.get("rel") not in NOT_LOADED:
            self.loads.append(values[LOADED[tag]])


@pytest.fixture(scope="session")
def pages(site):
    found = {
        path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"
    }  # which a server shows at any address
    assert len(found) > 30
    return found


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for address in page.loads:
            parts = urlsplit(address)
            assert not parts.scheme or parts.scheme == "data", f"{path.name} loads {address}"
            if not parts.scheme:
                assert not parts.netloc and (path.parent / unquote(parts.path)).is_file(), f"{path.name} loads {address}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text and "url(http" not in text and "url(//" not in text, style


def test_every_link_leads_somewhere(pages):
    for path, page in pages.items():
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme:
                assert parts.scheme == "https", f"{path.name} points to {address}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path not in ("", ".") else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name} points to {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{path.name} points to {address}"


def test_the_interface_is_described(site):
    """Every name that other programs may rely on, with the shapes that stand behind its arguments."""
    described = {
        "networks.adaconv": ("KernelPredictor", "AdaptiveKernels", "[N, C_out, C_in / groups, k, k]", "divides both numbers"),
        "networks.modulation": (
            "AdaIN",
            "Demodulation",
            "<code>MODULATIONS</code>",
            "share of the initial kernels in a fixed identity",
        ),
        "networks.generator": ("Generator", "MappingNetwork", "1 grey, 2 grey + alpha, 3 RGB, 4 RGBA"),
        "networks.discriminator": ("Discriminator", "blocks, and from-RGB before them, learn nothing (FreezeD"),
        "networks.style_transfer": ("StyleTransfer", "Stylizer", "encode_style"),
        "torch_utils.checkpoint": ("load_generator", "read_snapshot", "arguments of the network&#39;s constructor"),
        "metrics.fid": ("frechet_distance", "Dowson and Landau"),
    }
    for module, words in described.items():
        text = (site / "api" / f"{module}.html").read_text(encoding="utf-8").replace("network's", "network&#39;s")
        for word in words:
            assert word in text, f"{module}: {word}"


def test_links_to_code_lead_to_its_line(site):
    page = Page(site / "architecture.html")
    code = (ROOT / "networks" / "adaconv.py").read_text(encoding="utf-8").splitlines()
    (line,) = (number for number, text in enumerate(code, 1) if "return (x - mean) * (variance + eps).rsqrt()" in text)
    assert f"source/networks/adaconv.py.html#__codelineno-0-{line}" in page.links


@pytest.mark.slow
@needs_chromium
def test_it_opens_from_the_disk_and_is_searched_there(site):
    """Without a server and without a connection."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in ("index", "architecture", "tutorial", "api/networks.adaconv", "source/networks/adaconv.py"):
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_selector("h1")
        page.goto((site / "index.html").as_uri())
        page.fill("[data-md-component=search-query]", "truncation")
        page.wait_for_selector(".md-search-result__item a", state="attached", timeout=20_000)
        browser.close()
    assert not errors
    assert asked and all(address.startswith(("file:", "data:", "blob:")) for address in asked)
