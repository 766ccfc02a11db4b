"""For the site: what stands behind an argument, as `x: torch.Tensor,  # [N, C, H, W]`, becomes its description."""

import ast
import re
import tokenize
from pathlib import Path

import griffe

SHAPE = re.compile(r"(?<!`)\[[\w .,·/+×-]*[A-Za-z][\w .,·/+×-]*\](?![(\[`])")


def comments(path: Path) -> dict[int, str]:
    """Line number -> the comment at its end."""
    with tokenize.open(path) as file:
        return {
            t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(file.readline) if t.type == tokenize.COMMENT
        }


def described(arguments: list[ast.arg] | list[ast.AnnAssign], notes: dict[int, str], heading: str) -> str:
    """A section of a docstring in Google's style; "" where nothing is described."""
    lines = []
    for one in arguments:
        note = notes.get(one.end_lineno, "")
        name = one.arg if isinstance(one, ast.arg) else one.target.id
        if note and not note.startswith(("type:", "noqa")):
            lines.append(f"    {name}: {note}")
    return "\n".join(["", "", f"{heading}:", *lines]) if lines else ""


def marked(text: str) -> str:
    """Shapes in prose, set as code. Indented blocks and code stay as they are."""
    lines = []
    for line in text.split("\n"):
        parts = re.split(r"(`[^`]*`)", line)
        whole = line.startswith("    ")
        lines.append(line if whole else "".join(p if p.startswith("`") else SHAPE.sub(r"`\g<0>`", p) for p in parts))
    return "\n".join(lines)


class Shapes(griffe.Extension):
    """Adds them to docstrings while the modules are read."""

    def on_module_instance(self, *, mod: griffe.Module, **_) -> None:
        if mod.docstring:
            mod.docstring.value = marked(mod.docstring.value)

    def on_function_instance(self, *, node, func: griffe.Function, **_) -> None:
        if isinstance(node, ast.AST) and func.name != "__init__":
            self._describe(func, node.args.args + node.args.kwonlyargs, "Args")

    def on_class_members(self, *, node, cls: griffe.Class, **_) -> None:
        """Arguments of the constructor, or fields of a tuple or dataclass."""
        if not isinstance(node, ast.AST):
            return
        init = next((item for item in node.body if getattr(item, "name", "") == "__init__"), None)
        if init:
            self._describe(cls, init.args.args + init.args.kwonlyargs, "Args")
        else:
            self._describe(cls, [item for item in node.body if isinstance(item, ast.AnnAssign)], "Attributes")

    def _describe(self, thing: griffe.Object, arguments: list, heading: str) -> None:
        words = marked(thing.docstring.value) if thing.docstring else ""
        section = described(arguments, comments(thing.filepath), heading)
        if section:
            lines = section.split("\n")
            section = "\n".join(line if i < 3 else "    " + marked(line.strip()) for i, line in enumerate(lines))
        if words or section:
            thing.docstring = griffe.Docstring((words + section).strip(), parent=thing, parser="google")
