"""One declaration for each option: type, default, range, choices and help stand at a field of the configuration. The command
line and the checks of `training_options.json`, a file that may come from anywhere, both follow from them."""

import dataclasses
import functools
import json
import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_type_hints

import click

from torch_utils.cli import BOOL, MAX_NUMBER, NAMED_VALUES, NAMES, GroupedOption
from torch_utils.files import InputError, is_url
from torch_utils.local_path import LocalPath
from torch_utils.precision import AUTO
from torch_utils.tracking import NOWHERE, TRACKERS

REQUIRED = dataclasses.MISSING
LENGTH, DATA, NETWORKS, RECIPE = "Preset and length", "Data and results", "Networks", "Recipe"  # headings of --help
AUGMENTATION, GROWING, RUN = "Augmentation", "Growing", "Run"
GROUPS = (LENGTH, DATA, NETWORKS, RECIPE, AUGMENTATION, GROWING, RUN)
MAX_WHOLE = 2**31  # limit of whole numbers that have no other
SIDES = (32, 128, 512, 1024)  # a preset's number that is the same at all of them does not depend on the image size


@dataclasses.dataclass(frozen=True)
class Option:
    """What a field may be, and how the command line shows it."""

    help: str
    group: str | None  # heading in --help; None: presets and Python set it, the command line does not
    min: float | None = None
    max: float | None = None
    above: float | None = None  # in place of `min`: this number itself is not allowed
    below: float | None = None
    choices: Collection | None = None
    hints: Mapping[str, str] | None = None  # words that one may take for choices, and what to do instead
    path: bool = False  # made absolute, as a run may be resumed from another folder
    name: str | None = None  # on the command line, where it is not the field's
    shown: str | None = None  # the default in words, where the field's value says too little
    auto: str | None = None  # a further choice, on the command line only: the machine decides


def option(default: Any, group: str | None, help: str, **limits: Any) -> Any:
    """A field of a configuration; `default` may be REQUIRED. The rest as in `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, group, **limits)})


def tracker() -> Any:
    return option(NOWHERE, RUN, "send the curves there, too, for which that package has to be installed", choices=TRACKERS)


def number_format(choices: Collection[str]) -> Any:
    rule = "auto: bf16 where the device is fast in it, else fp32; in a resumed run, what it has"
    return option("fp32", RECIPE, f"number format of the networks; {rule}", choices=choices, auto=AUTO)


def options_of(kind: type) -> dict[str, Option]:
    return {field.name: field.metadata["option"] for field in dataclasses.fields(kind)}


# ---------------------------------------------------------------- files


class RunConfig:
    """What the configurations of all training runs, which are frozen dataclasses, have in common."""

    BEFORE: ClassVar[dict[str, Any]]  # what runs had that were begun before there was a choice
    FOR_CPUS: ClassVar[str]  # a preset
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    cfg: str
    batch: int
    precision: str
    threads: int | None
    skip_bad: bool
    kimg: float
    tick: float
    snap: int
    save_every: float
    run: str
    track: str
    warm_start: bool = False  # begun from a network, so that its first scores are not those of an untrained one

    @property
    def metrics(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def way_out(self) -> str:
        """What to do on a CPU that is too slow for this run."""
        fewer = "fewer --kimg, or a GPU"
        return fewer if self.cfg == self.FOR_CPUS else f"--cfg {self.FOR_CPUS} is made for CPUs; or {fewer}"

    def going_with(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Further options that change where those `given` change in a run that goes on."""
        return {}

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    def without_paths(self) -> dict[str, Any]:
        """What others may see: nothing of the machine's folders."""
        return {name: value for name, value in self.to_json().items() if not options_of(type(self))[name].path}

    @classmethod
    def from_json(cls, values: Any, where: str | Path = "options") -> Self:
        """`InputError`, which names the place, for an option, a type or a number that no training run has."""
        check(cls, values, where)
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def check(kind: type, values: Any, where: str | Path) -> None:
    """`InputError`, which names the place, for an option, a type or a number that no training run has."""
    types, options = get_type_hints(kind), options_of(kind)
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    if not isinstance(values, dict) or not needed <= set(values):
        raise InputError(f"{where}: found no table of training options, wanted one as the training run writes it")
    for name, value in values.items():
        found = f"{where}: found {name} = {reprlib.repr(value)}"
        if name not in options:
            raise InputError(f"{found}, which is no option of this kind of training")
        if wanted := _complaint(value, types[name], options[name]):
            raise InputError(f"{found}, wanted {wanted}")


def _complaint(value: Any, kind: Any, option: Option) -> str | None:
    """What is wanted instead of this value from JSON, if it is not as the field wants it."""
    if kind == tuple[str, ...]:
        return None if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value) else "a list of names"
    kinds = get_args(kind) or (kind,)
    if type(value) not in kinds and not (type(value) is int and float in kinds):  # a bool is no number, an int is a float
        return getattr(kind, "__name__", str(kind))
    if option.choices is not None and value not in option.choices:
        return f"one of {', '.join(map(str, option.choices))}"
    if type(value) not in (int, float):
        return None
    least, most = option.min, MAX_NUMBER if float in kinds else MAX_WHOLE
    least, most = -most if least is None else least, most if option.max is None else option.max
    within = least <= value <= most
    within &= (option.above is None or value > option.above) and (option.below is None or value < option.below)
    bounds = ("from", option.min), ("above", option.above), ("to", option.max), ("below", option.below)
    words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    return None if within else " ".join(["a number", *words])


# ---------------------------------------------------------------- command line


grouped_option = functools.partial(click.option, cls=GroupedOption)
length_option = functools.partial(grouped_option, group=LENGTH)


def run_options(command: Callable) -> Callable:
    """Decorator that gives a command what both trainers have beside their configuration, but for --outdir and --resume."""
    for option in (
        length_option("-n", "--dry-run", is_flag=True, help="print what would be done and what it would cost, and stop"),
        click.option("--device", help="cpu, cuda, mps …  [default: the best there is]"),
        click.option("--desc", metavar="TEXT", help="a word added to the name of a new run directory"),
    ):
        command = option(command)
    return command


def config_options(kind: type, resolve: Callable[[str, int], Mapping[str, Any]], presets: Collection[str]) -> Callable:
    """Decorator that gives a command an option for each field that has a group, and --outdir at the head of DATA.

    What is not on the command line is None. Of the decorators of a command it is the first, so that --help has GROUPS in order.
    `resolve(cfg, side)` are a preset's values for images of this side: with --cfg NAME, --help shows them as defaults.
    """
    types = get_type_hints(kind)
    outdir = LocalPath(file_okay=False)
    options = [(DATA, grouped_option("--outdir", required=True, type=outdir, help="where run directories go", group=DATA))]
    for field in dataclasses.fields(kind):
        declared = field.metadata["option"]
        if declared.group:
            added = grouped_option(
                f"--{declared.name or field.name.replace('_', '-')}",
                field.name,
                type=_click_type(types[field.name], declared),
                help=declared.help,
                group=declared.group,
                default_text=_default_in_words(field, declared, resolve, presets),
            )
            options.append((declared.group, added))

    def decorate(command: Callable) -> Callable:
        for _, added in sorted(options, key=lambda pair: GROUPS.index(pair[0]))[::-1]:
            command = added(command)
        return command

    return decorate


def _click_type(kind: Any, option: Option) -> click.ParamType:
    if kind == tuple[str, ...]:
        return NAMES
    if bool in (kinds := get_args(kind) or (kind,)):
        return BOOL
    if dict in kinds:
        return NAMED_VALUES
    if option.path:
        return _AbsolutePath()
    if option.choices is not None:
        words = [*([option.auto] if option.auto else []), *map(str, option.choices)]
        return _WholeNumber(words) if int in kinds else _Choice(words, option.hints)
    if float not in kinds and int not in kinds:
        return click.STRING
    least, most = (a if b is None else b for a, b in ((option.min, option.above), (option.max, option.below)))
    number: Callable[..., click.ParamType] = click.FloatRange if float in kinds else click.IntRange
    kind = number(least, most, min_open=option.above is not None, max_open=option.below is not None)
    kind.name = "float" if float in kinds else "integer"  # click says "is not a valid integer range"
    return kind


class _Choice(click.Choice):
    def __init__(self, words: Collection[str], hints: Mapping[str, str] | None):
        super().__init__(words)
        self.hints = hints or {}

    def convert(self, value, param, ctx):
        if value in self.hints:
            self.fail(self.hints[value], param, ctx)
        return super().convert(value, param, ctx)


class _WholeNumber(click.Choice):
    def convert(self, value, param, ctx):
        return int(super().convert(str(value), param, ctx))


class _AbsolutePath(click.Path):
    def convert(self, value, param, ctx):
        path = os.fsdecode(super().convert(value, param, ctx))
        return path if is_url(path) else str(Path(path).absolute())


def _default_in_words(field: dataclasses.Field, declared: Option, resolve: Callable, presets: Collection[str]) -> Callable:
    def default_in_words(cfg: str | None) -> str | None:
        """What --help says; `cfg` is the preset that it is about."""
        if declared.auto or field.name == "cfg":
            return declared.auto or str(field.default)
        values = [resolve(name, side).get(field.name) for name in ([cfg] if cfg in presets else presets) for side in SIDES]
        if all(value is None for value in values):
            return declared.shown or _in_words(field.default)
        if any(value != values[0] for value in values):
            return "by image size" if cfg in presets else declared.shown or "by preset"
        return _in_words(values[0])

    return default_in_words


def _in_words(value: Any) -> str | None:
    if isinstance(value, dict):
        return ",".join(f"{name}={json.dumps(given).strip(chr(34))}" for name, given in value.items())
    if isinstance(value, (tuple, list)):
        return ",".join(value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return None if value in (None, REQUIRED) else str(int(value) if isinstance(value, bool) else value)
