"""Pages of the site that are not in docs/: the notebook, the API, documents of the project, source files that are linked.

In a document a link is one that works where the code is browsed. Here those that lead out of docs/ are turned to such pages.
"""

import base64
import posixpath
import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "tutorial.ipynb"
API = {  # module -> title of its page; the interface that other programs may rely on
    "networks.adaconv": "The operation",
    "networks.modulation": "Modulations",
    "networks.generator": "Generator",
    "networks.discriminator": "Discriminator",
    "networks.style_transfer": "Style transfer",
    "torch_utils.checkpoint": "Snapshots",
    "metrics.fid": "Fréchet distance",
}
PARTS = {  # where not all of a module is shown in its order
    "networks.generator": (".Generator", ".MappingNetwork", ".SynthesisNetwork"),
    "networks.style_transfer": (".network.StyleTransfer", ".stylizer.Stylizer"),
}
LEADS = {  # what stands above a module's docstrings
    "networks.adaconv": "The paper's operation as a pure function, and the module that predicts its kernels.",
    "networks.modulation": "`MODULATIONS` is the table of them by name, which `--modulation` takes.",
    "networks.generator": "`G.mapping` and `G.synthesis` are its two halves; `G.z_dim`, `G.c_dim`, `G.w_dim`, `G.num_ws`, "
    "`G.img_resolution` and `G.img_channels` its sizes.",
    "networks.style_transfer": "`StyleTransfer` is the network that is trained; `Stylizer` puts it behind its encoder.",
    "torch_utils.checkpoint": "`load_generator` is what most programs need.",
    "metrics.fid": "A function of two means and covariances; the features are somebody else's.",
}
PROJECT = {  # document -> its title
    "README.md": "Front page",
    "pretrained/README.md": "Pretrained networks",
    "scripts/README.md": "List of commands",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
    "LICENSE": "Licence",
    "NOTICE": "Notice",
    "CITATION.cff": "Citation",
}
LINK = re.compile(r"""(?P<before>\]\(|\b(?:src|href)=")(?P<target>[^)"\s]+)(?P<after>[)"])""")
NAMED = re.compile(
    r"\[(?:[\w/-]+/)?(?P<name>[\w-]+\.(?:md|ipynb))\]\((?P<target>[^)#]+)(?P<rest>[^)]*)\)"
)  # [data.md](data.md)
RECORDS = re.compile(r"\[([^\]]+)\]\(performance/\w+\.json\)")  # data behind tables: not in the site
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]+`", re.M | re.S)
LANGUAGES = {"": "docker", ".py": "python", ".yml": "yaml", ".cff": "yaml", ".toml": "toml"}


def page_of(path: str) -> str | None:
    """Where a file of the checkout has its page, from docs/; None for one without."""
    if path == f"docs/{NOTEBOOK}":
        return NOTEBOOK.replace(".ipynb", ".md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PROJECT:
        return f"project/{PROJECT[path].lower().replace(' ', '-')}.md"
    return f"source/{path}.md" if (ROOT / path).is_file() and Path(path).suffix in LANGUAGES else None


def titled(markdown: str, titles: dict[str, str]) -> str:
    """A page calls another by its title, where the document names its file."""

    def link(match: re.Match) -> str:
        title = titles.get(match["target"].removeprefix("../"))
        return f"[{title}]({match['target']}{match['rest']})" if title else match[0]

    return NAMED.sub(link, markdown)


def titles_of(entries: list) -> dict[str, str]:
    """Titles of the navigation, by pages and by the files of the checkout that have one."""
    found = {NOTEBOOK: "Tutorial"}
    for entry in entries:
        for title, page in entry.items():
            found |= titles_of(page) if isinstance(page, list) else {page: title}
    return found


def relinked(markdown: str, origin: str, home: str) -> str:
    """Text of the file `origin` of the checkout, for its page `home`."""

    def link(match: re.Match) -> str:
        name, _, anchor = match["target"].partition("#")
        if not name or "://" in name or name.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), name))
        page = page_of(path)
        if page is None or path.startswith("docs/") and origin.startswith("docs/") and not path.endswith(".ipynb"):
            return match[0]
        if page.startswith("source/"):
            anchor = re.sub(r"^L(\d+).*", r"__codelineno-0-\1", anchor)
        target = posixpath.relpath(page, posixpath.dirname(home) or ".")
        return match["before"] + target + (f"#{anchor}" if anchor else "") + match["after"]

    markdown = RECORDS.sub(r"`docs/\1`", markdown)
    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    add = lambda uri, content, inclusion=InclusionLevel.INCLUDED: files.append(
        File.generated(config, uri, content=content, inclusion=inclusion)
    )
    text, pictures = notebook_page(nbformat.read(ROOT / "docs" / NOTEBOOK, as_version=4))
    add(page_of(f"docs/{NOTEBOOK}"), titled(text, titles_of(config.nav)))
    for name, content in pictures.items():
        add(name, content)
    for module, title in API.items():
        add(f"api/{module}.md", api_page(module, title))
    for path in PROJECT:
        text = (ROOT / path).read_text(encoding="utf-8")
        if not path.endswith(".md"):
            text = f"# {PROJECT[path]}\n\n```{{.text}}\n{text}\n```\n"
        add(page_of(path), relinked(text, path, page_of(path)))
    for path in sorted(linked_sources(files)):
        text = (ROOT / path).read_text(encoding="utf-8")
        language = LANGUAGES[Path(path).suffix]
        page = f"---\nhide: [toc]\n---\n# {path}\n\n````{{.{language} linenums=1}}\n{text}````\n"
        add(page_of(path), page, InclusionLevel.NOT_IN_NAV)
    config.nav = [filled(entry) for entry in config.nav]
    return files


def api_page(module: str, title: str) -> str:
    """What mkdocstrings makes of a module's docstrings."""
    own_heading = "\n    options: {show_root_heading: true, show_root_toc_entry: true}\n"
    parts = [f"::: {module}{name}{own_heading}" for name in PARTS.get(module, ())] or [f"::: {module}\n"]
    return "\n".join([f"# {title}\n\n`{module}`\n", LEADS.get(module, "") + "\n", *parts])


def filled(entry: dict) -> dict:
    """An entry of the navigation, with the pages that are generated."""
    if "Python" in entry:
        return {"Python": [{title: f"api/{module}.md"} for module, title in API.items()]}
    return {"Project": [{title: page_of(path)} for path, title in PROJECT.items()]} if "Project" in entry else entry


def linked_sources(files: Files) -> set[str]:
    """Source files that a document links to."""
    found = set()
    for file in files.documentation_pages():
        origin = f"docs/{file.src_uri}"
        for match in LINK.finditer(file.content_string):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match["target"].partition("#")[0]))
            if (page_of(path) or "").startswith("source/"):
                found.add(path)
            elif match["target"].startswith(("source/", "../source/")):  # a page of the project, turned to pages already
                found.add(re.sub(r"^(\.\./)?source/", "", match["target"].partition("#")[0]).removesuffix(".md"))
    return found


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.generated_by:  # its links are those of the site
        return markdown
    return relinked(titled(markdown, titles_of(config.nav) | PROJECT), f"docs/{page.file.src_uri}", page.file.src_uri)


def notebook_page(notebook: nbformat.NotebookNode) -> tuple[str, dict[str, bytes]]:
    """Markdown, and its pictures by the names that it uses."""
    text, pictures = [], {}
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text.append(relinked(cell.source, f"docs/{NOTEBOOK}", page_of(f"docs/{NOTEBOOK}")))
            continue
        text.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"images/tutorial-{i}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                text.append(f"![what this draws]({name})")
            elif words := output.get("text") or data.get("text/plain"):
                text.append(f"```{{.text .output}}\n{words.rstrip()}\n```")
    return "\n\n".join(text) + "\n", pictures
