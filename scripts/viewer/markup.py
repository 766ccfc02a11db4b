"""Pictures and links as HTML. What is shown or downloaded is in the page itself: no file is made for it, and none is served."""

import base64
import html
import io

import torch

from torch_utils.images import to_pil

SMALL = 256  # pixels; up to here, a picture is enlarged in whole pixels with sharp edges


def png(image: torch.Tensor) -> bytes:
    """uint8 [C, H, W] as `torch_utils.images.save_png` writes it."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(contents: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(contents).decode()}"


def picture(contents: bytes, size: tuple[int, int], what: str, caption: str = "") -> str:
    """A PNG of this height and width, with words for those who cannot see it."""
    height, width = size
    sharp = " sharp" if max(size) <= SMALL else ""
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="picture{sharp}" style="--ratio: {width / height:.4f}">'
        f'<img src="{data_url(contents, "image/png")}" width="{width}" height="{height}" alt="{html.escape(what)}">'
        f"{words}</figure>"
    )


def download(contents: bytes, name: str, kind: str = "image/png") -> str:
    """A link that looks like a button."""
    name = html.escape(name)
    return f'<a class="download" download="{name}" href="{data_url(contents, kind)}">Download {name}</a>'


def problem(text: str) -> str:
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'
