"""Reading from what fails now and then: a network, a mounted disk."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from torch_utils.files import InputError, first_line

PAUSES = (1, 3, 10)  # seconds before each further attempt
LOST = 300  # seconds in which what has failed to the end is not tried again
PASSING = ("EIO", "ESTALE", "EAGAIN", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH")

Result = TypeVar("Result")


def passing(error: Exception) -> bool:
    """Whether the system may do better the next time."""
    return isinstance(error, OSError) and error.errno in [getattr(errno, name, None) for name in PASSING]


class Attempts:
    """At one file: again after each of `PAUSES`; then an `InputError`, which comes at once for the next `LOST` seconds."""

    def __init__(self, may_pass: Callable[[Exception], bool] = passing):
        self._may_pass = may_pass
        self._lost, self._why = -float("inf"), ""

    @property
    def hopeful(self) -> bool:
        return time.monotonic() >= self._lost + LOST

    def __call__(self, read: Callable[[], Result], before_again: Callable[[], None] = lambda: None) -> Result:
        """What `read()` returns. An error that will not pass is raised as it is."""
        if not self.hopeful:
            raise InputError(self._why)
        for pause in (*PAUSES, None):
            try:
                return read()
            except Exception as error:
                if not self._may_pass(error):
                    raise
                self._why = f"cannot be read ({first_line(error.__cause__ or error)}), tried {len(PAUSES) + 1} times"
            if pause is not None:
                time.sleep(pause)
                before_again()
        self._lost = time.monotonic()
        raise InputError(self._why)
