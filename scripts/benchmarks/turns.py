"""Sides of a comparison that cannot share a process: each is asked for one repetition at a time, see `child.py`."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from torch_utils.files import InputError

ROOT = Path(__file__).resolve().parents[2]  # the checkout that this file belongs to
CHILD = Path(__file__).with_name("child.py")
REST = 0.02  # seconds; threads that have just computed spin for a while, which would slow the next side
SPIN = {"KMP_BLOCKTIME": "10"}  # milliseconds; Intel's and LLVM's OpenMP would spin for 200, GNU's does for about 1


class Side:
    """One side in a process of its own. Use it in a `with`: the process ends with it."""

    def __init__(self, side: str, checkout: Path, device: torch.device, *, keep_memory: bool = False, **options):
        """`side` is one of `sides.SIDES`, which says its options. `InputError` where the checkout cannot do it."""
        self.checkout = checkout
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(CHILD)],  # writes nothing into a checkout that is not ours
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=SPIN | os.environ,
            encoding="utf-8",
        )
        options["device"] = str(device)
        request = dict(checkout=str(checkout.resolve()), side=side, options=options, keep_memory=keep_memory)
        try:
            self.told = self._ask(json.dumps(request))
            if "error" in self.told:
                raise InputError(f"{checkout}: cannot be timed ({self.told['error']})")
        except BaseException:
            self.close()
            raise
        self.jobs = {name: functools.partial(self._repeat, name) for name in self.told["jobs"]}

    def _repeat(self, name: str) -> float:
        time.sleep(REST)
        return self._ask(name)

    def _ask(self, line: str):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:  # nobody reads
            answer = ""
        if not answer:
            self.process.wait(10)
            raise InputError(f"{self.checkout}: the process that times it has ended: {self._last_words()}")
        return json.loads(answer)

    def _last_words(self) -> str:
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(size - 2000, 0))
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self.process.returncode}"

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def check_files(option: str, checkout: Path, names: tuple[str, ...], what: str) -> None:
    """`InputError` where a path is no checkout of what it should be."""
    for name in names:
        if not (checkout / name).is_file():
            raise InputError(f"{option} {checkout}: found no {name}, wanted a checkout of {what}")
