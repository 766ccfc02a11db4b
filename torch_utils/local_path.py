"""The option type of a path that is of this machine."""

from pathlib import Path

import click

from torch_utils.files import is_url


class LocalPath(click.Path):
    """A Path, and no URL, whose // a Path would fold."""

    def __init__(self, dir_okay: bool = True):
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value, param, ctx):
        if is_url(value):
            self.fail(f"{value!r} is a URL; wanted a file{' or a folder' * self.dir_okay} of this machine", param, ctx)
        return super().convert(value, param, ctx)
