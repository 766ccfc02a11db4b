"""The page as a whole: its tabs, its colours, its letters."""

from collections.abc import Sequence

import gradio as gr

from scripts.viewer.generator_tab import GeneratorTab
from scripts.viewer.open_network import OpenNetwork
from scripts.viewer.studio import Studio
from scripts.viewer.style_tab import StyleTab

LETTERS = ["system-ui", "sans-serif"]  # of the system: none are fetched
CODE = ["ui-monospace", "monospace"]
KEPT = 3600  # seconds that an uploaded file is kept, at least

CSS = """
.gradio-container { width: 100% !important; max-width: 1320px !important; margin: 0 auto !important; padding: 0 !important; }
.gradio-container > .main { padding: 12px 24px !important; }
.dark { color-scheme: dark; }
#title h1 { font-size: 1.15rem; margin: 0; font-weight: 650; }
.sides { gap: 24px !important; align-items: flex-start; }
.pictures { position: sticky; top: 12px; }
.picture { margin: 0; }
.picture img { display: block; margin: 0 auto; width: auto; height: auto; max-width: 100%; max-height: 70vh; border-radius: 8px;
  box-shadow: 0 0 0 1px var(--border-color-primary);
  background: repeating-conic-gradient(#ddd 0% 25%, #fff 0% 50%) 0 0 / 24px 24px; }
.picture.sharp img { image-rendering: pixelated; width: min(100%, calc(62vh * var(--ratio))); }
.picture figcaption { text-align: center; margin-top: 6px; color: var(--body-text-color-subdued); }
#kernels .picture img { background: none; max-height: none; }
.links { display: flex; flex-wrap: wrap; gap: 8px; justify-content: center; margin: 10px 0 2px; }
.download { padding: 6px 12px; border-radius: 8px; text-decoration: none !important; font-size: .875rem;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color) !important;
  border: 1px solid var(--border-color-primary); }
.download:hover { background: var(--button-secondary-background-fill-hover); }
.problem { padding: 12px 14px; border-radius: 8px; border: 1px solid #c0392b; background: #c0392b18;
  color: var(--body-text-color); }
.waiting { display: grid; place-content: center; text-align: center; min-height: 220px; border-radius: 8px;
  border: 1px dashed var(--border-color-primary); color: var(--body-text-color-subdued); }
#styles, #styles .grid-wrap { min-height: 0 !important; height: auto !important; max-height: none !important; }
.controls td.download { display: none; }
.controls .icon-wrap { display: none; }
.controls button .wrap { font-size: .9rem; line-height: 1.35; min-height: 0; }
.part { align-items: center !important; }
.thumbnails { display: flex; gap: 12px; justify-content: center; }
.thumbnails figure { margin: 8px 0 0; font-size: .8rem; text-align: center; color: var(--body-text-color-subdued); }
.thumbnails img { height: 84px; border-radius: 6px; }
#command textarea, #command-beside textarea, #style-command textarea { font-family: var(--font-mono); font-size: .8rem; }
@media (max-width: 800px) {
  .gradio-container > .main { padding: 8px 12px !important; }
  .pictures { position: static; }
  .sides { flex-direction: column; }
  .sides > * { width: 100%; }
  .picture.sharp img { width: min(100%, calc(46vh * var(--ratio))); }
  .waiting { min-height: 120px; }
}
"""


def theme() -> gr.themes.Base:
    return gr.themes.Default(font=LETTERS, font_mono=CODE, primary_hue="indigo", secondary_hue="slate", neutral_hue="slate")


def make_page(networks: Sequence[OpenNetwork], studio: Studio, device: str | None = None) -> gr.Blocks:
    with gr.Blocks(title="AdaConv", analytics_enabled=False, fill_width=True, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown("# AdaConv", elem_id="title")
        with gr.Tab("Generator"):
            GeneratorTab(networks, device).build(page)
        with gr.Tab("Style"):
            StyleTab(studio, device).build()
    return page
