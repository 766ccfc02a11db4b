"""A web server for tests: files of a folder, whole or in parts, with faults on demand."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """What it serves, what it has sent, and which faults it has."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts = True  # whether it understands Range
        self.faults: dict[str, float] = {}  # end of a path -> how often it answers with a fault yet
        self.status = 503  # of those answers
        self.hangs: set[str] = set()  # ends of paths that are never answered
        self.sent: list[tuple[str, int]] = []  # path, bytes
        self.closing = threading.Event()
        self.url = ""

    def gets(self, end: str) -> int:
        return sum(path.endswith(end) for path, _ in self.sent)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Web]:
    web = Web(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, with_body: bool):
            while any(self.path.endswith(end) for end in web.hangs) and not web.closing.is_set():
                time.sleep(0.02)
            for end, left in web.faults.items():
                if self.path.endswith(end) and left > 0:
                    web.faults[end] -= 1
                    return self.send(web.status, b"", with_body)
            path = web.folder / self.path.lstrip("/")
            if not path.is_file():
                return self.send(404, b"", with_body)
            data, span = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not (web.parts and span):
                return self.send(200, data, with_body)
            start, end = int(span[1]), min(int(span[2]), len(data) - 1)
            return self.send(206, data[start : end + 1], with_body, **{"Content-Range": f"bytes {start}-{end}/{len(data)}"})

        def send(self, status: int, data: bytes, with_body: bool, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Accept-Ranges", "bytes" if web.parts else "none")
            self.send_header("Content-Length", str(len(data)))
            if with_body:
                web.sent.append((self.path, len(data)))
            self.end_headers()
            if with_body:
                with contextlib.suppress(ConnectionError):  # who asked has read enough
                    self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        server.server_close()
