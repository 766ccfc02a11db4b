"""The page's own web server: nothing but the page, for this machine (all its accounts, as loopback is), nothing from elsewhere.

Gradio serves more than this page needs: a proxy, a reader of addresses on the network, an interface for programs. What is not
on the list here is not found.
"""

import errno
import os
import re
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch_utils.files import InputError

MAX_BODY = 32 << 20  # bytes of a request; a photograph has fewer
MAX_PIXELS = 2**24  # of an uploaded picture, when Gradio or we decode it
FIRST_PORT, PORTS = 7860, 100  # tried, one after the other
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGES = re.compile(
    r"/|/(assets|static|svelte)/[\w./@~+-]+|/(theme\.css|favicon\.ico|manifest\.json|robots\.txt|config)"
    r"|/gradio_api/(upload|upload_progress|startup-events|cancel|reset|queue/(join|data)|heartbeat/\w+|run/[\w-]+|file=.+|theme\.css)/?"
)
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's own are inline, and its templates are compiled
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """Around an ASGI application: only PAGES, only of these hosts, only small requests, with HEADERS on every answer."""

    def __init__(self, app: Callable, hosts: tuple[str, ...] | None):
        self.app, self.hosts = app, hosts  # None: any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # no WebSockets
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if status := self.refusal(scope, headers):
            return await answer(send, status)
        seen = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= MAX_BODY else {"type": "http.disconnect"}

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        await self.app(scope, bounded, marked)

    def refusal(self, scope: Scope, headers: dict[str, str]) -> int | None:
        """Status of the answer to a request that goes no further."""
        host = headers.get("host", "")
        if self.hosts is not None and host_name(host) not in self.hosts:
            return 421  # a name that somebody else pointed to this machine
        if (origin := headers.get("origin")) and origin.partition("://")[2] != host:
            return 403  # the page of another site
        if not PAGES.fullmatch(scope["path"]) or re.match(r"/gradio_api/file=(\w{2,}:/|[/\\]{2})", scope["path"]):
            return 404
        length = headers.get("content-length", "0")
        return 413 if not length.isdecimal() or int(length) > MAX_BODY else None


def host_name(host: str) -> str:
    """127.0.0.1:7860 -> 127.0.0.1, [::1]:7860 -> ::1"""
    match = re.fullmatch(r"\[([^\]]+)\](:\d+)?|([^:]+)(:\d+)?", host)
    return (match[1] or match[3]) if match else ""


async def answer(send: Send, status: int) -> None:
    headers = [(b"content-type", b"text/plain"), *((name.encode(), value.encode()) for name, value in HEADERS.items())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": {413: b"too large", 404: b"not found"}.get(status, b"refused")})


@contextmanager
def quiet_gradio() -> Iterator[None]:
    """To be entered before Gradio is imported: it tells nobody, and keeps its files in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="adaconv-viewer-") as folder:
        os.environ |= {
            "GRADIO_TEMP_DIR": folder,
            "GRADIO_EXAMPLES_CACHE": os.path.join(folder, "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_RUN_HISTORY": "False",
            "GRADIO_SHARE": "False",
            "GRADIO_ALLOWED_PATHS": "",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        yield


def free_socket(host: str, port: int | None) -> socket.socket:
    """Bound to `port`, or to the first free one. `InputError` where there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason: OSError | None = None
    for number in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        bound = socket.socket(family)
        try:
            if os.name == "posix":  # elsewhere it would let two programs have one port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, number))
            bound.listen()  # at once: until then another viewer could have the same port
            return bound
        except OSError as error:
            bound.close()
            reason = error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break  # another port would not help
    raise InputError(f"--host {host} --port {FIRST_PORT if port is None else port}: {reason.strerror or reason}")


def address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(page, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Until it is interrupted. `page`: of `make_page`."""
    import fastapi
    import gradio as gr
    import uvicorn
    from PIL import Image

    from scripts.viewer.page import CSS, theme

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # a picture of more is an error to our reader, one of twice as many to Pillow itself
    host, port = bound.getsockname()[:2]
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        max_file_size=MAX_BODY,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
    )
    guard = Guard(app, LOOPBACK if host in LOOPBACK else None)
    server = uvicorn.Server(uvicorn.Config(guard, log_level="warning", timeout_graceful_shutdown=1))
    ready()
    server.run(sockets=[bound])
