"""What all commands share: option types, one-line errors with exit code 2, and progress."""

import functools
import re
import sys
import time

import click
from tqdm import tqdm

from torch_utils.files import InputError, disk_trouble


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
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            if not match:
                self.fail(f"{value!r} does not read as seeds; write 5, or 0,1,2, or 0-3,7", param, ctx)
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


BOOL, SEEDS, NAMES = _Bool(), _Seeds(), _Names()


def run(command: click.Command) -> None:
    """Run a command as a process: an error that the user caused is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an old Windows console has no ·, µ or ×
            stream.reconfigure(errors="replace")
    try:
        command.main(standalone_mode=False)
    except (InputError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print("error:", " ".join(message.split()), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if not disk_trouble(error):
            raise
        print("error:", disk_trouble(error), file=sys.stderr)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def given(options: dict) -> dict:
    """Of the options of the command that runs, those that stood on its command line."""
    context, default = click.get_current_context(), click.core.ParameterSource.DEFAULT
    return {name: value for name, value in options.items() if context.get_parameter_source(name) != default}


command = functools.partial(click.command, context_settings={"show_default": True, "max_content_width": 120})


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
    """Rate and remaining time of a long piece of work: a bar on a terminal, plain lines now and then elsewhere."""

    def __init__(self, what: str, total: float, unit: str, start: float = 0, quiet: float = 15):
        self.what, self.total, self.unit, self.first, self.quiet = what, total, unit, start, quiet
        terminal = sys.stderr.isatty()
        shape = "{desc} {percentage:3.0f}% |{bar}| {n:.5g}/{total:.5g} {unit}, {rate_fmt}, {remaining} left"
        self.bar = tqdm(desc=what, total=total, unit=unit, initial=start, leave=False, bar_format=shape, disable=not terminal)
        self.began = self.shown = time.monotonic()

    def update(self, done: float) -> None:
        """Say that `done` of `total` is done; seldom prints, so call it as often as you like."""
        now = time.monotonic()
        if not self.bar.disable:
            self.bar.update(done - self.bar.n)
        elif now - self.shown >= self.quiet:
            self.shown = now
            rate = (done - self.first) / (now - self.began)
            left = duration((self.total - done) / rate) if rate > 0 else "?"
            pace = f"{rate:.3g} {self.unit}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.3g} s/{self.unit}"
            print(f"{self.what}: {done:.5g}/{self.total:.5g} {self.unit}, {pace}, {left} left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar. A later `update` draws it again."""
        self.bar.clear()
