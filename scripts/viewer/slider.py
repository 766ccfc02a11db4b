"""Gradio's slider, for which a number that somebody types beside it counts as the nearest one on it, and is no error."""

import gradio as gr


def slider_of(least: float, most: float, value: float, **settings) -> gr.Slider:
    slider = gr.Slider(least, most, value, **settings)
    clamp = lambda number: value if number is None else min(max(number, least), most)
    slider.preprocess = clamp  # type: ignore[method-assign, assignment]
    return slider
