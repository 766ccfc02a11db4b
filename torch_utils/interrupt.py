"""Being asked to stop: at the first SIGINT or SIGTERM a training run finishes its step and saves; at a second one it ends."""

import os
import signal
import threading
import time
from typing import Any

STATUS = 3  # exit status of a command that stopped because it was asked to, with everything saved
TWICE = 1.0  # seconds: a terminal's Ctrl-C also reaches the children that it is passed on to, which is still one request


class StopRequest:
    """`with StopRequest() as stop:` then look at `stop.requested` between steps."""

    def __init__(self):
        self.signal: int | None = None
        self.children: list[int] = []  # process ids that are to hear of it
        self._at = 0.0
        self._before: dict[int, Any] = {}  # handlers

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame) -> None:
        if self.signal is not None and time.monotonic() - self._at > TWICE:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._at = number, time.monotonic()
            for child in self.children:
                os.kill(child, number)
