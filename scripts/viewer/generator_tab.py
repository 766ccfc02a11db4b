"""The page of generators: controls on one side, pictures on the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from networks.generator import PARTS
from scripts.style_mixing import THIRDS, layers_of
from scripts.viewer import markup
from scripts.viewer.look import LONGEST, MAX_PSI, MAX_SEED, NOISE_MODES, Look, look_of
from scripts.viewer.open_network import OpenNetwork
from scripts.viewer.recipe import STYLES, STYLES_BESIDE, recipe
from torch_utils.files import InputError

PART_NAMES = {
    "spatial": "Structure: spatial kernels",
    "pointwise": "Mixing: pointwise kernels",
    "bias": "Offset: biases",
}
NOWHERE = "none"  # of networks beside, and of layers whose kernels are drawn
STEADY: dict[str, Any] = dict(trigger_mode="always_last", show_progress="hidden", queue=False, api_visibility="private")


class GeneratorTab:
    def __init__(self, networks: Sequence[OpenNetwork], device: str | None = None):
        self.networks, self.device = {network.name: network for network in networks}, device
        self.first, self.beside = networks[0], networks[1] if len(networks) > 1 else None  # when the page opens
        self.most = max(len(network.directions.names) for network in networks)  # sliders
        self.controls: dict[str, Any] = {}

    def build(self, page: gr.Blocks) -> None:
        """Inside the tab of a page."""
        with gr.Row(elem_classes="sides"):
            with gr.Column(scale=6, elem_classes="pictures"):
                self._pictures()
            with gr.Column(scale=5, elem_classes="controls"):
                self._networks()
                self._seeds()
                self._style()
                self._mixing()
                self._parts()
                self._directions()
        inputs, outputs = list(self.controls.values()), [*self.panes, self.kernels]
        # While networks change a browser sends a class that only the other has, and Gradio would refuse it: `look_of` reads.
        draw: dict[str, Any] = dict(fn=self.draw, inputs=inputs, outputs=outputs, preprocess=False, **STEADY)
        chosen = [self.controls["network"], self.controls["beside"]]
        gr.on([control.input for control in inputs if control not in chosen], **draw)
        gr.on([chosen[0].input], self._adapt, chosen, self._adapted(), **STEADY).then(**draw)
        gr.on([chosen[1].input], self._adapt_beside, chosen, self._adapted_beside(), **STEADY).then(**draw)
        for button, fn, read, write in self.buttons:
            button.click(fn, read, write, queue=False, show_progress="hidden", api_visibility="private").then(**draw)
        page.load(**draw)

    # ---------------------------------------------------------------- what is shown

    def draw(self, *values) -> list:
        """Of all controls, as the browser sends them -> what the panes show: pictures with their commands, and kernels."""
        page = dict(zip(self.controls, values))
        first, second = (self.networks.get(str(page[name])) for name in ("network", "beside"))
        try:
            if first is None:
                raise InputError(f"there is no network {str(page['network'])[:40]!r} here")
            look = look_of(page)
        except InputError as error:
            return [markup.problem(str(error)), "", gr.update(visible=False), "", "", ""]
        left, right = self.pane(first, look), ("", "")
        if second:
            right = self.pane(second, replace(look, label=page["label_beside"]), STYLES_BESIDE)
        return [*left, gr.update(visible=second is not None), *right, self.draw_kernels(first, look, page["kernels"])]

    def pane(self, network: OpenNetwork, look: Look, file: str = STYLES) -> tuple[str, str]:
        """HTML with the picture and links, and the command."""
        try:
            made = recipe(network, look, self.device, file)
            image = network.draw(look, made.noise_seed)
        except InputError as error:
            return markup.problem(str(error)), ""
        contents, size = markup.png(image), (image.shape[1], image.shape[2])
        links = markup.download(contents, made.picture)
        if made.styles:
            links += markup.download(made.styles, file, "application/octet-stream")
        caption = network.name if len(self.networks) > 1 else ""
        shown = markup.picture(contents, size, f"picture of seed {look.seed}", caption)
        return f'{shown}<div class="links">{links}</div>', made.line

    def draw_kernels(self, network: OpenNetwork, look: Look, layer: Any) -> str:
        if layer not in range(len(network.layers)):
            return ""
        try:
            image = network.kernels(look, layer)
        except InputError as error:
            return markup.problem(str(error))
        shown = markup.picture(markup.png(image), (image.shape[1], image.shape[2]), f"kernels of layer {layer}")
        return shown.replace("picture sharp", "picture")

    # ---------------------------------------------------------------- controls

    def _pictures(self) -> None:
        with gr.Row():
            with gr.Column(min_width=200):
                left = gr.HTML(elem_id="picture", container=False)
                line = gr.Textbox(label="The command that draws it", lines=2, buttons=["copy"], elem_id="command")
            with gr.Column(min_width=200, visible=False) as beside:
                right = gr.HTML(elem_id="picture-beside", container=False)
                line_beside = gr.Textbox(label="The command that draws it", lines=2, buttons=["copy"], elem_id="command-beside")
        self.panes = [left, line, beside, right, line_beside]
        self.kernels = gr.HTML(elem_id="kernels", container=False)

    def _networks(self) -> None:
        several = len(self.networks) > 1
        with gr.Row(visible=several):
            names = list(self.networks)
            self.controls["network"] = gr.Dropdown(names, value=names[0], label="Network", min_width=120)
            beside = self.beside.name if self.beside else NOWHERE
            self.controls["beside"] = gr.Dropdown([NOWHERE, *names], value=beside, label="Beside it", min_width=120)

    def _seeds(self) -> None:
        with gr.Group():
            with gr.Row():
                seed = self._seed("seed", "Seed", 0)
                seed_to = self._seed("seed_to", "Walk to seed", 1)
            position = gr.Slider(0, 1, 0, step=0.01, label="Position between the two", elem_id="position", buttons=[])
            self.controls |= dict(position=position)
        with gr.Row():
            back = gr.Button("Previous", size="sm", min_width=60)
            following = gr.Button("Next", size="sm", min_width=60, elem_id="next")
            anywhere = gr.Button("Random", size="sm", min_width=60)
        both = [seed, seed_to, position]
        self.buttons: list[tuple] = [
            (back, lambda a: [max((a or 0) - 1, 0), max(a or 0, 1), 0], [seed], both),
            (following, lambda b: [b or 0, min((b or 0) + 1, MAX_SEED), 0], [seed_to], both),
            (anywhere, random_seeds, None, both),
        ]

    def _style(self) -> None:
        network, count = self.first, self._deepest(self.first, self.beside).G.num_ws
        with gr.Group():
            with gr.Row():
                psi = gr.Slider(0, MAX_PSI, 1, step=0.01, label="Truncation", min_width=180, elem_id="psi", buttons=[])
                cutoff = gr.Slider(0, count, count, step=1, label="Truncated layers", min_width=180, buttons=[])
            noise = gr.Radio([("fixed", "const"), ("random", "random"), ("none", "none")], value="const", label="Noise")
            with gr.Row():
                label = gr.Dropdown(**classes_of(network), label="Class", min_width=120)
                label_beside = gr.Dropdown(**classes_of(self.beside), label="Class of the one beside", min_width=120)
                kernels = gr.Dropdown(
                    self._kernel_choices(network),
                    value=NOWHERE,
                    label="Draw the kernels of",
                    min_width=120,
                    elem_id="kernel-layer",
                )
        assert {value for _, value in noise.choices} == set(NOISE_MODES)
        self.controls |= dict(psi=psi, cutoff=cutoff, noise_mode=noise, label=label, label_beside=label_beside, kernels=kernels)

    def _mixing(self) -> None:
        with gr.Accordion("Mix in another seed", open=False, elem_id="mixing"):
            self._seed("mix_seed", "Seed", 2)
            self._layers("mix_layers", "gives its style to these layers", [])

    def _parts(self) -> None:
        with gr.Accordion("Mix parts of the kernels", open=False, elem_id="parts"):
            for i, part in enumerate(PARTS):
                with gr.Row(elem_classes="part"):
                    box = gr.Checkbox(False, label=PART_NAMES[part], container=False, elem_id=f"part-{part}", scale=3)
                    seed = gr.Number(3 + i, **WHOLE, show_label=False, container=False, min_width=80, label=f"Seed of {part}")
                self.controls |= {part: box, f"{part}_seed": seed}
            self._layers("part_layers", "come from these seeds in these layers", None)

    def _directions(self) -> None:
        with gr.Accordion("Directions", open=False, elem_id="directions"):
            names = self.first.directions.names
            for i in range(self.most):
                name = names[i] if i < len(names) else ""
                slider = gr.Slider(
                    -LONGEST, LONGEST, 0, step=0.05, label=name, visible=bool(name), buttons=[], elem_id=f"direction-{i}"
                )
                self.controls[f"direction{i}"] = slider
            reset = gr.Button("Reset", size="sm")
        sliders = [self.controls[f"direction{i}"] for i in range(self.most)]
        self.buttons.append((reset, lambda: [0] * self.most if self.most > 1 else 0, None, sliders))

    def _seed(self, name: str, label: str, value: int) -> gr.Number:
        self.controls[name] = gr.Number(value, **WHOLE, label=label, min_width=100, elem_id=name.replace("_", "-"))
        return self.controls[name]

    def _layers(self, name: str, label: str, value: list[int] | None) -> None:
        """`value`: layers that are chosen from the start; None: all."""
        layers = self._deepest(self.first, self.beside).layers
        choices = [(layer, i) for i, layer in enumerate(layers)]
        value = list(range(len(layers))) if value is None else value
        group = gr.CheckboxGroup(choices, value=value, label=label, elem_id=name.replace("_", "-"))
        self.controls[name] = group
        with gr.Row():
            for third in (*THIRDS, "all", "none"):
                button = gr.Button(third, size="sm", min_width=50)
                chosen = [self.controls["network"], self.controls["beside"]]
                self.buttons.append((button, self._some_layers(third), chosen, group))

    def _some_layers(self, text: str):
        return lambda *names: [] if text == "none" else layers_of(text, self._deepest(*map(self.networks.get, names)).G.num_ws)

    @staticmethod
    def _deepest(*networks: OpenNetwork | None) -> OpenNetwork:
        """Whose layers can be chosen where two are shown."""
        return max(filter(None, networks), key=lambda network: network.G.num_ws)

    # ---------------------------------------------------------------- another network has other layers and classes

    def _kernel_choices(self, network: OpenNetwork) -> list:
        layers = [(f"layer {layer}", i) for i, layer in enumerate(network.layers)]
        return [NOWHERE, *(layers if network.predicts_kernels else [])]

    def _adapted(self) -> list:
        names = ["label", "kernels", *(f"direction{i}" for i in range(self.most))]
        return [*(self.controls[name] for name in names), *self._adapted_beside()]

    def _adapt(self, name: str, beside: str) -> list:
        network = self.networks[name]
        found = network.directions.names
        return [
            gr.update(**classes_of(network)),
            gr.update(choices=self._kernel_choices(network), value=NOWHERE),
            *(gr.update(label=found[i] if i < len(found) else "", visible=i < len(found), value=0) for i in range(self.most)),
            *self._adapt_beside(name, beside),
        ]

    def _adapted_beside(self) -> list:
        return [self.controls[name] for name in ("label_beside", "cutoff", "mix_layers", "part_layers")]

    def _adapt_beside(self, name: str, beside: str) -> list:
        second = self.networks.get(beside)
        layers = self._deepest(self.networks[name], second).layers
        choices, count = [(layer, i) for i, layer in enumerate(layers)], len(layers)
        return [
            gr.update(**classes_of(second)),
            gr.update(maximum=count, value=count),
            gr.update(choices=choices, value=[]),
            gr.update(choices=choices, value=list(range(count))),
        ]


def classes_of(network: OpenNetwork | None) -> dict[str, Any]:
    """Of a dropdown, hidden where there are none."""
    classes = network.classes if network else []
    return dict(choices=classes, value=classes[0] if classes else None, visible=bool(classes))


WHOLE: dict[str, Any] = dict(precision=0, step=1)  # bounds are `Look`'s, whose message says more


def random_seeds() -> list[int]:
    import secrets

    return [secrets.randbelow(100_000), secrets.randbelow(100_000), 0]
