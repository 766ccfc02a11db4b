"""Being asked to stop: at the first SIGINT, SIGTERM or SIGHUP a training run finishes its step and saves; at a second one it
ends. That nobody reads what it prints any more counts as a request, too."""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from typing import IO, Any

STATUS = 3  # exit status of a command that stopped because it was asked to, with everything saved
UNHEARD = 141  # of another command whose output nobody reads any more, as shells have it for SIGPIPE
TWICE = 1.0  # seconds: a terminal's Ctrl-C also reaches the children that it is passed on to, which is still one request
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, *([errno.EINVAL] if os.name == "nt" else []))  # of who reads our output
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """`with StopRequest() as stop:` then look at `stop.requested` between steps."""

    active: "StopRequest | None" = None  # of this process, the last that was entered

    def __init__(self):
        self.signal: int | None = None
        self.children: list[int] = []  # process ids that are to hear of it
        self._at = 0.0
        self._before: dict[int, Any] = {}  # handlers
        self._outer: StopRequest | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # by `nohup`
            self._before = {number: signal.signal(number, self._hear) for number in heard}
        self._outer, StopRequest.active = StopRequest.active, self
        return self

    def __exit__(self, *exception) -> None:
        StopRequest.active = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def why(self) -> str:
        """In words."""
        if self.signal is None:
            return "another process"
        return "a closed output" if self.signal == UNHEARD else signal.Signals(self.signal).name

    def request(self, number: int) -> None:
        """By a signal, or UNHEARD."""
        if self.signal is None:
            self.signal, self._at = number, time.monotonic()
            for child in self.children if os.name == "posix" else []:  # elsewhere a signal kills; a console tells them itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM if number == UNHEARD else number)

    def _hear(self, number: int, frame) -> None:
        # A machine that shuts down may send different ones, one after the other: that is one request.
        if number in (self.signal, signal.SIGINT) and self.requested and time.monotonic() - self._at > TWICE:
            raise KeyboardInterrupt
        self.request(number)


class Outlet:
    """Standard output or error whose other end may close: a pipe's reader, a terminal, an ssh session.

    From then on what is written is dropped. A training run is asked to stop; any other command ends without a word.
    """

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._lost(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> int:
        if error.errno not in GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is still in the buffer goes there, too
        os.close(nowhere)
        if StopRequest.active is None:
            sys.exit(UNHEARD)
        StopRequest.active.request(UNHEARD)
        return 0


def prepare_streams() -> None:
    """Standard output and error that are there, take any character, and may be closed at their other end."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")  # closed by whoever started us
        if isinstance(stream, Outlet):
            continue
        if hasattr(stream, "reconfigure"):  # an old Windows console has no ·, µ or ×
            stream.reconfigure(errors="replace")
        setattr(sys, name, Outlet(stream))
