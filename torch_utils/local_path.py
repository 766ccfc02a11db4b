"""The option type of a path that is of this machine."""

from pathlib import Path

import click

from torch_utils.files import is_url


class LocalPath(click.Path):
    """A Path, and no URL, whose // a Path would fold."""

    def __init__(self, file_okay: bool = True, dir_okay: bool = True):
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value, param, ctx):
        if is_url(value):
            wanted = " or ".join(["a file"] * self.file_okay + ["a folder"] * self.dir_okay)
            self.fail(f"{value!r} is a URL; wanted {wanted} of this machine", param, ctx)
        return super().convert(value, param, ctx)
