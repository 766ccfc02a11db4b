"""The server's guard, around an application that would answer everything."""

import asyncio
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scripts.viewer.__main__ import main
from scripts.viewer.server import LOOPBACK, MAX_BODY, Guard, address, free_socket, quiet_gradio
from tests.conftest import ROOT
from torch_utils.files import InputError


async def generous(scope, receive, send):
    """Reads all of the request, and answers with its length."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(path="/", hosts=LOOPBACK, kind="http", chunks=(b"",), **headers):
    """Status, headers and body of the answer; None without one."""
    sent, waiting = (
        [],
        [{"type": "http.request", "body": body, "more_body": i + 1 < len(chunks)} for i, body in enumerate(chunks)],
    )

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    fields = {"host": "127.0.0.1:7860"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {"type": kind, "path": path, "headers": [(k.encode(), v.encode()) for k, v in fields.items()]}
    asyncio.run(Guard(generous, hosts)(scope, receive, send))
    if not sent:
        return None
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/assets/index-D1_x.js",
        "/static/fonts/a-b.woff2",
        "/gradio_api/run/predict",
        "/gradio_api/queue/join",
        "/theme.css",
    ],
)
def test_pages(path):
    status, headers, body = ask(path, chunks=(b"abc", b"de"))
    assert (status, body) == (200, b"5")
    assert b"default-src 'self'" in headers[b"content-security-policy"] and headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/monitoring",
        "/gradio_api/info",
        "/gradio_api/proxy=https://example.com/",
        "/gradio_api/file=https://example.com/x",
        "/gradio_api/file=http:/example.com/x",
        "/gradio_api/vibe-edit/",
        "/gradio_api/deep_link",
        "/gradio_api/custom_component/1/client/component/x.js",
        "/assets/a b",
        "//evil",
    ],
)
def test_what_else_gradio_would_serve(path):
    assert ask(path)[::2] == (404, b"not found")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "localhost.:1:1"])
def test_names_that_others_point_to_this_machine(host):
    assert ask(host=host)[0] == 421
    assert ask(host=host, hosts=None)[0] == 200  # on an address that is not for this machine alone, any name may be meant


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860"])
def test_names_of_this_machine(host):
    assert ask(host=host)[0] == 200
    assert ask(host=host, origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9999", "null"])
def test_pages_of_other_sites(origin):
    assert ask("/gradio_api/upload", origin=origin)[0] == 403


def test_large_requests():
    assert ask("/gradio_api/upload", content_length=str(MAX_BODY + 1))[0] == 413
    assert ask("/gradio_api/upload", content_length="many")[0] == 413
    piece = bytes(MAX_BODY // 2)
    assert ask("/gradio_api/upload", chunks=(piece, piece))[2] == str(2 * len(piece)).encode()
    assert ask("/gradio_api/upload", chunks=(piece, piece, b"x")) is None  # without a length: it is cut off


def test_no_websockets():
    assert ask(kind="websocket") is None


def test_ports():
    with free_socket("127.0.0.1", None) as first:
        taken = first.getsockname()[1]
        assert taken >= 7860 and address(first) == f"http://127.0.0.1:{taken}"
        first.listen()
        with free_socket("127.0.0.1", None) as second:
            assert second.getsockname()[1] > taken
        with pytest.raises(InputError, match=f"--port {taken}: "):
            free_socket("127.0.0.1", taken)
    with pytest.raises(InputError, match="--host 203.0.113.7"):
        free_socket("203.0.113.7", 0)


def test_its_folder_goes_away(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with quiet_gradio():
        folder = os.environ["GRADIO_TEMP_DIR"]
        assert os.path.isdir(folder) and os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not os.path.exists(folder)


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install -e "\.\[viewer\]"'):
        CliRunner().invoke(main, [], standalone_mode=False, catch_exceptions=False)


def test_help_and_errors_need_no_gradio():
    code = "import sys, scripts.viewer.__main__; assert 'gradio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(InputError, match="no such network file"):
        CliRunner().invoke(main, ["--network", "nothing"], standalone_mode=False, catch_exceptions=False)
