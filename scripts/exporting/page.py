"""A page that draws with a generator, as one HTML file that needs no server and asks nobody for anything."""

import base64
import gzip
import html
import json
from collections.abc import Mapping
from pathlib import Path

from networks.generator import Generator
from torch_utils.files import InputError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).resolve().parent / "template"
RUNTIME = ROOT / "third_party" / "onnxruntime-web"
CODE, WASM = RUNTIME / "ort.wasm.bundle.min.mjs", RUNTIME / "ort-wasm-simd-threaded.wasm.gz"


def page(
    G: Generator,
    parts: Mapping[str, bytes],  # ONNX files: mapping and synthesis
    class_names: list[str] | None,
    name: str,
) -> str:
    """The text of index.html. Large things in it are gzip in base64, which any browser since 2023 unpacks by itself."""
    for path in (CODE, WASM):
        if not path.is_file():
            raise InputError(f"{path}: no such file; --page needs the checkout's third_party/")
    config = {
        "name": name,
        "z_dim": G.z_dim,
        "c_dim": G.c_dim,
        "w_dim": G.w_dim,
        "num_ws": G.num_ws,
        "w_avg": G.mapping.w_avg.tolist(),
        "classes": class_names,
    }
    licence = (RUNTIME / "LICENSE").read_text(encoding="utf-8")
    licences = f"onnxruntime-web 1.30.0\n\n{licence}".strip()
    values = {
        "NAME": html.escape(name),
        "CSS": (TEMPLATE / "page.css").read_text(encoding="utf-8").strip(),
        "LICENCES": html.escape(licences),
        "CONFIG": json.dumps(config).replace("<", "\\u003c"),  # a class may be called </script>
        "ORT_CODE": packed(CODE.read_bytes()),
        "ORT_WASM": base64.b64encode(WASM.read_bytes()).decode(),
        "MAPPING": packed(parts["mapping"]),
        "SYNTHESIS": packed(parts["synthesis"]),
        "JS": (TEMPLATE / "page.js").read_text(encoding="utf-8").strip(),
    }
    pieces = (TEMPLATE / "page.html").read_text(encoding="utf-8").split("{{")
    return pieces[0] + "".join(values[key] + rest for key, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def packed(contents: bytes) -> str:
    """gzip in base64; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(contents, 9, mtime=0)).decode()
