"""The page of style transfer: a photograph, a style, and what becomes of them."""

from typing import Any

import gradio as gr
import numpy as np
import torch

from scripts.viewer import markup
from scripts.viewer.slider import slider_of
from scripts.viewer.studio import DRAWN, MASK, MAX_SIDE, MAX_STRENGTH, STYLES, Studio, preset_names, read_upload
from scripts.viewer.wish import NONE, Wish, order_of
from torch_utils.archive import SUFFIXES
from torch_utils.files import InputError
from torch_utils.images import from_pil, to_pil, with_short_side
from torch_utils.table_picture import thumbnail

WAITING = '<div class="waiting">Drop a photograph, and it is drawn here.</div>'
EDITED = 384  # short side of the photograph that regions are painted on
BRUSH = "#ffffff"
CALM: dict[str, Any] = dict(
    trigger_mode="always_last", show_progress="minimal", concurrency_id="style", api_visibility="private"
)


def nice(name: str) -> str:
    """van-gogh -> Van Gogh"""
    return name.replace("-", " ").title()


class StyleTab:
    def __init__(self, studio: Studio, device: str | None = None):
        self.studio, self.device, self.presets = studio, device, preset_names()

    def build(self) -> None:
        """Inside the tab of a page."""
        with gr.Row(elem_classes="sides"):
            with gr.Column(scale=6, elem_classes="pictures"):
                self.result = gr.HTML(WAITING, elem_id="drawing", container=False)
                self.line = gr.Textbox(
                    label="The command that draws it", lines=2, buttons=["copy"], elem_id="style-command", visible=False
                )
            with gr.Column(scale=5, elem_classes="controls"):
                self._controls()
        inputs = [*self.wish, self.painting]
        draw: dict[str, Any] = dict(
            fn=self.draw, inputs=inputs, outputs=[self.result, self.line], show_progress_on=self.result, **CALM
        )
        content, chosen, style, strength, size, second, second_style, mask = self.wish
        quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        content.change(self.to_paint, [content], [self.painting], **quiet)
        second.input(lambda name: gr.update(visible=name != NONE), [second], [self.region], queue=False, **quiet)
        self.gallery.select(self._choose, None, [chosen, style], **quiet).then(**draw)
        uploads = [event for file in (content, style, second_style, mask) for event in (file.upload, file.clear)]
        gr.on([*uploads, strength.release, size.release, second.input, self.again.click], **draw)

    def _controls(self) -> None:
        picture: dict[str, Any] = dict(file_types=list(SUFFIXES), height=112)
        content = gr.File(label="Photograph", elem_id="content", **picture)
        files = [(str(STYLES / f"{name}.jpg"), nice(name)) for name in self.presets]
        self.gallery = gr.Gallery(
            files,
            label="Style",
            columns=3,
            height="auto",
            show_label=False,
            allow_preview=False,
            interactive=False,
            object_fit="cover",
            selected_index=0,
            buttons=[],
            elem_id="styles",
        )
        chosen = gr.State(self.presets[0])
        style = gr.File(label="Or a style of your own", elem_id="style", **picture)
        with gr.Group(), gr.Row():
            strength = slider_of(0, MAX_STRENGTH, 1, step=0.05, label="Strength", buttons=[], min_width=180, elem_id="strength")
            size = slider_of(64, MAX_SIDE, EDITED, step=32, label="Short side (px)", buttons=[], min_width=180)
        names = [(NONE, NONE), *((nice(name), name) for name in self.presets)]
        second = gr.Dropdown(names, value=NONE, label="Second style, in a region", elem_id="second")
        with gr.Column(visible=False) as self.region:
            self.painting = gr.ImageEditor(
                label="Paint where",
                type="numpy",
                sources=[],
                transforms=[],
                layers=False,
                brush=gr.Brush(default_size=40, colors=[BRUSH], color_mode="fixed"),
                buttons=[],
                height=360,
                elem_id="painting",
            )
            self.again = gr.Button("Draw with this region", elem_id="again")
            with gr.Row():
                second_style = gr.File(label="Or a second style of your own", min_width=180, **picture)
                mask = gr.File(label="Or a mask: its lighter colour", min_width=180, **picture)
        self.wish: list[Any] = [content, chosen, style, strength, size, second, second_style, mask]

    def _choose(self, event: gr.SelectData) -> tuple[str, None]:
        """A style of the page replaces an uploaded one."""
        return self.presets[event.index % len(self.presets)], None

    def draw(self, *values) -> tuple:
        """HTML with the drawing, and the command."""
        try:
            order = order_of(Wish(*values))
            if order is None:
                return WAITING, gr.update(visible=False)
            image = self.studio.draw(order)
        except InputError as error:
            return markup.problem(str(error)), gr.update(visible=False)
        contents, size = markup.png(image), (image.shape[1], image.shape[2])
        links = markup.download(contents, DRAWN)
        if order.mask and order.mask.name == MASK:
            links += markup.download(markup.png(order.mask.pixels), MASK)
        shown = markup.picture(contents, size, f"{order.content.name} in the style of {order.style.name}")
        small = [(order.content, "photograph"), (order.style, "style")] + [(order.second, "second style")] * bool(order.second)
        row = "".join(small_picture(picture.pixels, caption) for picture, caption in small)
        html = f'{shown}<div class="links">{links}</div><div class="thumbnails">{row}</div>'
        return html, gr.update(value=self.studio.command(order, self.device), visible=True)

    def to_paint(self, content: str | None) -> dict[str, Any] | None:
        """The photograph, for the editor of regions; what cannot be read is told where it is drawn."""
        if not content:
            return None
        try:
            pixels = with_short_side(read_upload(content).pixels, EDITED)
        except InputError:
            return None
        background = np.asarray(to_pil(pixels))
        return {"background": background, "layers": [], "composite": background}


def small_picture(pixels: torch.Tensor, caption: str) -> str:
    image = from_pil(thumbnail(pixels))
    url = markup.data_url(markup.png(image), "image/png")
    return f'<figure><img src="{url}" alt=""><figcaption>{caption}</figcaption></figure>'
