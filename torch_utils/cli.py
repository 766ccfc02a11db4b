"""What all commands share: option types, one-line errors with exit code 2, and progress."""

import contextlib
import difflib
import functools
import json
import math
import os
import re
import reprlib
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

import click
from tqdm import tqdm

from torch_utils.files import InputError, check_target, disk_trouble, first_line, is_url
from torch_utils.interrupt import prepare_streams

SCARCE = 1 << 28  # bytes of memory
MAX_NUMBER = 1e30  # of any option, so that float32 holds it and its products


class _Bool(click.ParamType):
    name = "bool"

    def convert(self, value, param, ctx):
        if isinstance(value, bool):
            return value
        if value.lower() in ("1", "true"):
            return True
        if value.lower() in ("0", "false"):
            return False
        self.fail(f"{value!r} is not one of 0, 1, true, false", param, ctx)


class _Seeds(click.ParamType):
    """`0-3,7` -> [0, 1, 2, 3, 7]; order kept, repetitions dropped."""

    name = "seeds"

    def convert(self, value, param, ctx):
        if isinstance(value, list):
            return value
        seeds = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
            if not match:
                self.fail(f"{reprlib.repr(value)} does not read as seeds; write 5, or 0,1,2, or 0-3,7", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first or last - first > 1_000_000 or last > 2**32 - 1:
                self.fail(f"{part!r} is not a range of seeds between 0 and {2**32 - 1}", param, ctx)
            seeds.extend(range(first, last + 1))
        return list(dict.fromkeys(seeds))


class _Names(click.ParamType):
    """`a,b` -> ["a", "b"]; `none` -> []."""

    name = "names"

    def convert(self, value, param, ctx):
        if isinstance(value, list):
            return value
        return [] if value.lower() == "none" else [part.strip() for part in value.split(",") if part.strip()]


class _Png(click.Path):
    """A file to write, whose name says what is in it."""

    def convert(self, value, param, ctx):
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        check_target(path)
        if path.suffix.lower() != ".png":
            self.fail(f"{str(value)!r} is to be a PNG; wanted a name that ends in .png", param, ctx)
        return path


class _Images(click.Path):
    """A path of images, which may be a URL: that stays a string, as a Path would fold its //."""

    def convert(self, value, param, ctx):
        found = super().convert(value, param, ctx)
        return found if is_url(str(found)) else Path(str(found))


class _NamedValues(click.ParamType):
    """`a=1,b=true,c=word` -> {"a": 1, "b": True, "c": "word"}: values as in JSON, and words."""

    name = "NAME=VALUE,…"

    def convert(self, value, param, ctx):
        if isinstance(value, dict):
            return value
        found = {}
        for part in value.split(","):
            name, equals, text = (word.strip() for word in part.partition("="))
            if not name or not equals or name in found:
                self.fail(f"{value!r}: wanted NAME=VALUE,… with each name once, such as kernel_size=1,identity=0.5", param, ctx)
            try:
                found[name] = json.loads(text, parse_constant=str)  # NaN is a word
            except json.JSONDecodeError:
                found[name] = text
        return found


BOOL, SEEDS, NAMES, IMAGES, NAMED_VALUES = _Bool(), _Seeds(), _Names(), _Images(), _NamedValues()
PNG = _Png(dir_okay=False, path_type=Path)
PSI = click.FloatRange(-100, 100)  # of truncation; far beyond, pictures are black


class Runnable(Protocol):
    """A `click.Command`, or what stands for one."""

    name: str | None

    def main(self, *, standalone_mode: bool) -> Any: ...


def run(command: Runnable) -> None:
    """Run a command as a process. An error that the user caused is one line on stderr and exit code 2; any other is one line,
    too, which names a file with the traceback, and exit code 1."""
    _prepare_process()
    try:
        command.main(standalone_mode=False)
        sys.stdout.flush()
    except (InputError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        _end(2, f"error: {message}")
    except (click.Abort, KeyboardInterrupt):
        _end(130, "interrupted")
    except Exception as error:
        if _is_out_of_memory(error):
            _end(2, "error: there is not enough memory for this")
        trouble = disk_trouble(error) if isinstance(error, OSError) else None
        if trouble:
            _end(2, f"error: {trouble}")
        what = f"{type(error).__name__}: {first_line(error)[:300]}"
        _end(1, f"error: something went wrong that should not have: {what}; {_keep_traceback(command)}")


def _prepare_process() -> None:
    """Streams as commands want them, and Ctrl-C as Python has it."""
    prepare_streams()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which torch_utils.before_torch had taken away


def _end(status: int, message: str) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(status)


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has its own words for it, on a CPU and on a GPU; and where there is none left, Python itself may fail."""
    from torch_utils.memory import available_bytes  # here, as it takes PyTorch

    words = isinstance(error, RuntimeError) and any(w in str(error) for w in ("can't allocate memory", "out of memory"))
    if isinstance(error, (SystemError, ImportError)):
        there = available_bytes()
        return there is not None and there < SCARCE
    return isinstance(error, MemoryError) or words


def _keep_traceback(command: Runnable) -> str:
    """Where the traceback of the error that is being handled is, in words."""
    text = f"{shlex.join(sys.argv)}\n\n{traceback.format_exc()}"
    try:
        handle, path = tempfile.mkstemp(prefix=f"adaconv-{command.name}-", suffix=".txt")
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError:
        print(text, file=sys.stderr)
        return "its traceback is above"
    return f"please report it with its traceback, which is in {path}"


class GroupedOption(click.Option):
    """An option that --help lists under a heading. Its default may be in words, and another one for each --cfg."""

    def __init__(self, *names, group: str, default_text: Callable[[str | None], str | None] = lambda cfg: None, **settings):
        super().__init__(*names, **settings)
        self.group, self.default_text = group, default_text

    def get_help_record(self, ctx):
        names, text = super().get_help_record(ctx)
        default = self.default_text(ctx.meta.get(CFG))
        return names, f"{text}  [default: {default}]" if default else text


class Command(click.Command):
    """A command whose --help has headings, and which answers an unknown option with `hints`, {"--name": what to do instead}."""

    def __init__(self, *args, hints: Mapping[str, str] | None = None, **settings):
        super().__init__(*args, **settings)
        self.hints = hints or {}

    def parse_args(self, ctx, args):
        ctx.meta[COMMAND_LINE] = f"python {ctx.info_name} {shlex.join(args)}"
        words = [part for word in args for part in (word.split("=", 1) if word.startswith("--cfg=") else [word])]
        ctx.meta[CFG] = dict(zip(words, words[1:])).get("--cfg")
        try:
            rest = super().parse_args(ctx, args)
            for option in self.params:
                self._check_number(ctx, option)
            return rest
        except click.NoSuchOption as error:
            known = [name.lstrip("-") for option in self.params for name in option.opts]
            hint = next((hint for name, hint in self.hints.items() if re.fullmatch(name, error.option_name)), None)
            if near := difflib.get_close_matches(error.option_name.lstrip("-"), known, n=1, cutoff=0.75):
                hint = hint or f"did you mean --{near[0]}?"
            message = f"there is no option {error.option_name}" + (f": {hint}" if hint else "; --help lists them all")
            raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None

    def _check_number(self, ctx: click.Context, option: click.Parameter) -> None:
        """No option takes NaN, an infinity, or what float32 cannot hold: comparisons with a range let NaN through."""
        values = ctx.params.get(option.name)
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(value, float) and not abs(value) <= MAX_NUMBER:
                raise click.BadParameter(f"{value:g} is not a number up to {MAX_NUMBER:g}", ctx, option)

    def format_options(self, ctx, formatter):
        groups: dict[str, list] = {}
        for option in self.get_params(ctx):
            groups.setdefault(getattr(option, "group", "Options"), []).append(option.get_help_record(ctx))
        for group, records in sorted(groups.items(), key=lambda item: item[0] == "Options"):
            with formatter.section(group):
                formatter.write_dl(records)


COMMAND_LINE, CFG = "adaconv.command_line", "adaconv.cfg"  # in a context's `meta`
command = functools.partial(click.command, cls=Command, context_settings={"show_default": True, "max_content_width": 120})


def command_line() -> str:
    """Of the command that runs, as it was typed."""
    return click.get_current_context().meta[COMMAND_LINE]


def duration(seconds: float) -> str:
    """3725 -> '1h 02m 05s'."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {seconds:02d}s"
    return f"{minutes}m {seconds:02d}s" if minutes else f"{seconds}s"


def counted(number: int, noun: str) -> str:
    """1, "class" -> "1 class"; 2, "class" -> "2 classes"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


class Progress:
    """Pace and remaining time of a long piece of work: a bar on a terminal, plain lines now and then elsewhere."""

    def __init__(self, what: str, total: float, unit: str, start: float = 0, quiet: float = 15, shown: bool = True):
        self.what, self.total, self.unit, self.first = what, total, unit, start
        self.quiet = quiet if shown else math.inf
        terminal = shown and sys.stderr.isatty()
        shape = "{desc} {percentage:3.0f}% |{bar}| {n:.5g}/{total:.5g} {unit}{postfix}"
        self.bar = tqdm(desc=what, total=total, unit=unit, initial=start, leave=False, bar_format=shape, disable=not terminal)
        self.began = self.shown = time.monotonic()

    def update(self, done: float) -> None:
        """Say that `done` of `total` is done; seldom prints, so call it as often as you like."""
        now = time.monotonic()
        if not self.bar.disable:
            self.bar.set_postfix_str(self._pace(done, now), refresh=False)
            self.bar.update(done - self.bar.n)
        elif now - self.shown >= self.quiet:
            self.shown = now
            print(f"{self.what}: {done:.5g}/{self.total:.5g} {self.unit}, {self._pace(done, now)}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile does not count as time of this work."""
        before = time.monotonic()
        try:
            yield
        finally:
            self.began += time.monotonic() - before

    def close(self) -> None:
        """Remove the bar. A later `update` draws it again."""
        self.bar.clear()

    def _pace(self, done: float, now: float) -> str:
        rate = (done - self.first) / max(now - self.began, 1e-9)
        left = duration((self.total - done) / rate) if rate > 0 else "?"
        pace = f"{rate:.3g} {self.unit}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.3g} s/{self.unit}"
        return f"{pace}, {left} left"
