"""How long a training run waits for its images."""

import time
from collections.abc import Callable, Generator
from typing import ParamSpec, TypeVar

Item = TypeVar("Item")
Asked = ParamSpec("Asked")


class Timed(Generator[Item, None, None]):
    """A generator, and the seconds that its caller has waited for it."""

    def __init__(self, source: Generator[Item, None, None]):
        self._source, self.waited = source, 0.0

    def send(self, value: None) -> Item:
        began = time.monotonic()
        try:
            return self._source.send(value)
        finally:
            self.waited += time.monotonic() - began

    def throw(self, *error):
        return self._source.throw(*error)

    def close(self) -> None:
        self._source.close()


def timed(make: Callable[Asked, Generator[Item, None, None]]) -> Callable[Asked, Timed[Item]]:
    """The same function, of which the generators are timed."""

    def made(*args: Asked.args, **options: Asked.kwargs) -> Timed[Item]:
        return Timed(make(*args, **options))

    made.__doc__ = make.__doc__
    return made
