"""One HTML file that shows a run: pictures through time, curves, scores, options. It opens offline, without a server."""

import base64
import hashlib
import html
import io
import itertools
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from networks.normalized_distance import normalized_distance
from torch_utils.cli import duration
from torch_utils.files import InputError, atomic_write, parse_json, read_json

TEMPLATE = Path(__file__).with_name("html_report.html")
GRIDS = 40  # pictures through time, at most
PICTURE_BYTES = 8_000_000  # of all pictures together; in base64 they take 4/3 of it
EXACT_BYTES = 150_000  # a PNG up to this size is embedded as it is
POINTS = 2000  # of a curve, at most
NOTICES = 50  # different ones, at most
TITLES = {  # charts of means in their order, and the names that belong to them; what is not known stands before the last two
    "Losses": "loss_.*",
    "Gradient penalties": "r[12]",
    "Mean logits": ".*_logits",
    "Signs of overfitting": "signs",
    "Strength of augmentation": "p",
    "Path lengths": "path_length",
    "Gradient norms": "gradient_.*",
    "Seconds per kimg": "sec_per_kimg",
    "Memory, MB": ".*_mb",
}
LAST = ["Seconds per kimg", "Memory, MB"]


Seconds = Callable[[float], float]  # images seen -> time in training steps


def write_page(run_dir: Path) -> None:
    """Write `report.html` anew from the files in `run_dir`, atomically; the same files give the same bytes.

    Reads training_options.json, stats.jsonl, metric-*.jsonl, log.txt, reals.png and fakes*.png. What is missing or damaged is
    left out, so that a page never ends a training. Raises `OSError` where the page cannot be written.
    """
    options = _options(run_dir / "training_options.json")
    stats = _records(run_dir / "stats.jsonl")
    scores = _scores(run_dir)
    nimg = max((records[-1]["nimg"] for records in [stats, *scores.values()] if records), default=None)
    grids = _evenly(_grids(run_dir, nimg))
    pictures = _embed([path for _, _, path in grids] + [run_dir / "reals.png"])
    grids = [grid for grid in grids if grid[2] in pictures]
    seconds = _clock(stats)

    data = dict(
        grids=[dict(kimg=kimg, label=label, seconds=seconds(1000 * kimg), src=pictures[path]) for kimg, label, path in grids],
        charts=_charts(stats, scores, seconds),
    )
    newest = data["grids"][-1] if grids else None
    shown = _pictures(newest, pictures.get(run_dir / "reals.png"), len(grids))
    if newest:
        newest["src"] = None  # stands in the page as an image already
    values = dict(
        _header(run_dir, options, stats, nimg),
        notices=_notices(_logged(run_dir / "log.txt") + _not_finite(stats)),
        scores=_score_table(scores),
        pictures=shown,
        numbers=_number_table(stats),
        options=_option_table(options),
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),  # "</script>" would end it
    )
    template = TEMPLATE.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.S)[1]
    values["script_hash"] = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)  # one pass: no name is a placeholder
    with atomic_write(run_dir / "report.html") as file:
        file.write(page.encode(errors="replace"))  # JSON may hold half a character, which UTF-8 has no bytes for


# What the run directory holds


def _options(path: Path) -> dict:
    try:
        options = read_json(path)
    except InputError:
        return {}
    return options if isinstance(options, dict) else {}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _records(path: Path) -> list[dict]:
    """The records of a .jsonl by `nimg`, one for each; lines that are cut off or have none are dropped."""
    records = {}
    for line in _lines(path):
        try:
            record = parse_json(line, path)
        except InputError:
            continue
        if isinstance(record, dict) and _finite(record.get("nimg")):
            before = records.get(record["nimg"], {})
            if "command" not in record or "command" in before or not before:  # the training's own score goes first
                records[record["nimg"]] = record
    return [records[nimg] for nimg in sorted(records)]


def _scores(run_dir: Path) -> dict[str, list[dict]]:
    """Records by metric, each with a `way_left` where it is known."""
    scores = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        records = [record for record in _records(path) if _finite(record.get("value"))]
        for record in records:
            record["floor"] = record["floor"] if _finite(record.get("floor")) else None
            if not _finite(record.get("way_left")):
                first = records[0]
                known = first["nimg"] == 0
                record["way_left"] = normalized_distance(record["value"], record["floor"], first["value"]) if known else None
        if records:
            scores[path.stem.removeprefix("metric-")] = records
    return scores


def _grids(run_dir: Path, nimg: float | None) -> list[tuple[int, str, Path]]:
    """(kimg, label, file) in the order of time, up to `nimg` images: later ones are of a future that a resume has undone."""
    found = []
    for path in run_dir.glob("fakes*.png"):
        if path.name == "fakes_init.png":
            found.append((0, "untrained", path))
        elif match := re.fullmatch(r"fakes(\d{1,9})\.png", path.name):
            kimg = int(match[1])
            if nimg is None or 1000 * kimg <= nimg:
                found.append((kimg, f"{kimg} kimg", path))
    return sorted(found, key=lambda grid: (grid[0], grid[1] != "untrained"))


def _evenly(grids: list[tuple[int, str, Path]]) -> list[tuple[int, str, Path]]:
    """At most GRIDS of them, evenly through time; the first and the last always."""
    if len(grids) <= GRIDS:
        return grids
    kimgs = np.array([kimg for kimg, _, _ in grids])
    wanted = np.linspace(kimgs[0], kimgs[-1], GRIDS)[1:-1]
    return [grids[i] for i in sorted({0, len(grids) - 1, *(int(np.abs(kimgs - kimg).argmin()) for kimg in wanted)})]


def _logged(path: Path) -> list[tuple[str, str]]:
    """(kind, text) of the lines of the log that begin with "warning:" or "note:"."""
    return [match.groups() for line in _lines(path) if (match := re.match(r"(warning|note):\s*(.+)", line))]


def _not_finite(stats: list[dict]) -> list[tuple[str, str]]:
    """Warnings of curves that break off, as they are easily overlooked."""
    found = []
    for name in _names(stats):
        bad = [record["nimg"] for record in stats if name in record and not _finite(record[name])]
        if bad:
            kind = "note" if name.startswith("gradient_") else "warning"  # a GradScaler tries steps that are too large
            found.append((kind, f"{name} is not a finite number at {len(bad)} ticks, first at {bad[0] / 1000:g} kimg"))
    return found


def _clock(stats: list[dict]) -> Seconds:
    """Scores and pictures have no time of their own: it is read off the ticks."""
    known = [(record["nimg"], record["seconds"]) for record in stats if _finite(record.get("seconds"))]
    nimgs, seconds = np.array([(0, 0), *known], dtype=float).T.copy()
    return lambda nimg: round(float(np.interp(nimg, nimgs, seconds)), 1)


def _finite(value) -> bool:
    return _numeric(value) and abs(value) < 1e300


def _numeric(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# Pictures


def _embed(paths: list[Path]) -> dict[Path, str]:
    """Data URIs of pictures that can be read, of at most PICTURE_BYTES together.

    All that are re-encoded get the form that the largest file needs, so that moving through time does not change sharpness.
    """
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    share, form, embedded = PICTURE_BYTES // max(len(sizes), 1), 0, {}
    for path in sorted(sizes, key=sizes.get, reverse=True):
        try:
            with Image.open(path) as image:
                image.load()
        except Exception:  # Pillow raises half a dozen kinds for a damaged file
            continue
        if sizes[path] <= min(EXACT_BYTES, share):
            embedded[path] = _data_uri("png", path.read_bytes())
            continue
        image = _opaque(image)
        while len(encoded := _jpeg(image, form)) > share and form < 16:  # then a side is at 4 %
            form += 1
        embedded[path] = _data_uri("jpeg", encoded)
    return embedded


def _jpeg(image: Image.Image, form: int) -> bytes:
    """The larger `form`, the smaller the result: 0 is hard to tell from the original, from 2 on there are fewer pixels."""
    factor = 0.8 ** max(form - 1, 0)
    if factor < 1:
        image = image.resize([max(round(side * factor), 1) for side in image.size], Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    quality = dict(quality=82) if form else dict(quality=92, subsampling=0)
    image.save(buffer, format="JPEG", **quality)
    return buffer.getvalue()


def _opaque(image: Image.Image) -> Image.Image:
    """Grey or RGB; alpha is laid over white, as `to_rgb` does."""
    if image.mode in ("L", "RGB"):
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# Curves


def _names(stats: list[dict]) -> list[str]:
    """Of what is reported, in the order of the charts."""
    known = {"nimg", "kimg", "step", "seconds", "timestamp"}
    names = dict.fromkeys(name for record in stats for name, value in record.items() if _numeric(value))
    rank = {title: i for i, title in enumerate(TITLES)}
    position = lambda title: (rank.get(title, len(TITLES) - len(LAST) - 0.5), title)
    return sorted((name for name in names if name not in known), key=lambda name: (position(_title(name)), name))


def _title(name: str) -> str:
    """The chart that a mean belongs to; one that is not known here has a chart of its own."""
    for title, pattern in TITLES.items():
        if re.fullmatch(pattern, name):
            return title
    return name


def _charts(stats: list[dict], scores: dict[str, list[dict]], seconds: Seconds) -> list[dict]:
    """What the page draws: scores first, machinery last."""
    charts = [
        _chart(name, [_curve("distance", records, "value", seconds)], True, records[-1]["floor"])
        for name, records in scores.items()
    ]
    known = {name: [record for record in records if record["way_left"] is not None] for name, records in scores.items()}
    left = [_curve(name, records, "way_left", seconds) for name, records in known.items() if records]
    if left:
        charts.append(_chart("Share of the way left, from untrained to the floor", left, zero=True) | dict(percent=True))
    for title, names in itertools.groupby(_names(stats), _title):
        curves = [_curve(name, [record for record in stats if name in record], name, seconds) for name in names]
        charts.append(_chart(title, curves, zero=title in LAST))
    return charts


def _chart(title: str, curves: list[dict], zero: bool, floor: float | None = None) -> dict:
    """zero: the axis begins there."""
    return dict(title=title, curves=curves, zero=zero, floor=floor, percent=False)


def _curve(name: str, records: list[dict], key: str, seconds: Seconds) -> dict:
    """Lists of one length; a value is None where it is not finite."""
    values = [record[key] if _finite(record[key]) else None for record in records]
    kept = _thin(values)
    nimg = [records[i]["nimg"] for i in kept]
    return dict(
        name=name,
        nimg=nimg,
        seconds=[seconds(n) for n in nimg],
        value=[None if values[i] is None else float(f"{values[i]:.6g}") for i in kept],
    )


def _thin(values: list[float | None]) -> list[int]:
    """Which values to draw, at most POINTS: of each stretch the least, the greatest and a gap, so that no spike is lost."""
    if len(values) <= POINTS:
        return list(range(len(values)))
    kept = {0, len(values) - 1}
    length = math.ceil(len(values) / (POINTS // 3 - 1))
    for begin in range(0, len(values), length):
        stretch = range(begin, min(begin + length, len(values)))
        finite = [i for i in stretch if values[i] is not None]
        kept.update([i for i in stretch if values[i] is None][:1])
        kept.update(choose(finite, key=values.__getitem__) for choose in (min, max) if finite)
    return sorted(kept)


# Fragments of HTML


def _header(run_dir: Path, options: dict, stats: list[dict], nimg: float | None) -> dict[str, str]:
    data = options.get("data") or options.get("content") or ""
    data = re.split(r"[\\/]", str(data))[-1].removesuffix(".zip") or run_dir.absolute().name
    traits = " · ".join(str(options[key]) for key in ("cfg", "modulation", "transfer") if options.get(key))
    done, planned = (nimg or 0) / 1000, options.get("kimg")
    planned = planned if _finite(planned) and planned > 0 else None
    progress = f"{done:.5g} of {planned:.5g} kimg" if planned else f"{done:.5g} kimg"
    facts, last = [f"<strong>{progress}</strong>"], stats[-1] if stats else {}
    pace = last.get("sec_per_kimg")
    if _finite(last.get("seconds")):
        facts.append(f"{duration(last['seconds'])} of training")
    if _finite(pace):
        facts.append(f"{pace:.4g} s per kimg")
    if planned and done >= planned:
        facts.append("done")
    elif planned and _finite(pace):
        facts.append(f"about {duration(pace * (planned - done))} left")
    if _finite(last.get("timestamp")) and 0 < last["timestamp"] < 2**32:
        facts.append(f"last tick {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(last['timestamp']))}")
    return dict(
        title=html.escape(f"{data} · {progress}" + (f" · {traits}" if traits else "")),
        heading=html.escape(data) + (f" <small>{html.escape(traits)}</small>" if traits else ""),
        facts=" · ".join(facts),
        progress=f'<progress max="{planned:g}" value="{min(done, planned):g}"></progress>' if planned else "",
    )


def _notices(found: list[tuple[str, str]]) -> str:
    """Each once, however often it was logged; warnings first."""
    counts = dict(sorted(Counter(found).items(), key=lambda item: item[0][0] != "warning"))
    items = [
        f'<li class="{kind}"><b>{kind.capitalize()}:</b> {html.escape(text[:1000])}'
        + (f" ({count} times)</li>" if count > 1 else "</li>")
        for (kind, text), count in counts.items()
    ]
    if len(items) > NOTICES:
        items[NOTICES:] = [f"<li>{len(items) - NOTICES} more are in log.txt</li>"]
    return f'<ul class="notices">{"".join(items)}</ul>' if items else ""


def _pictures(newest: dict | None, reals: str | None, count: int) -> str:
    """The newest grid and the real images, and what it takes to go back in time."""
    figures, controls = [], []
    if newest:
        label = html.escape(newest["label"])
        figures.append(
            f'<figure class="generated"><img id="generated" src="{newest["src"]}" alt="A grid of generated images">'
            f'<figcaption>Generated, <span id="caption">{label}</span></figcaption></figure>'
        )
        controls.append(
            f'<label class="grow needs-js"><output id="at" for="when">{label}</output>'
            f'<input type="range" id="when" max="{count - 1}" value="{count - 1}" aria-label="Time of the pictures"></label>'
        )
    if reals:
        figures.append(
            f'<figure class="real"><img src="{reals}" alt="A grid of real images"><figcaption>Real images</figcaption></figure>'
        )
    if newest and reals:
        buttons = "".join(f'<button data-value="{choice}">{choice}</button>' for choice in ("both", "generated", "real"))
        controls.append(f'<span class="choice needs-js" id="which">{buttons}</span>')
    if not figures:
        return ""
    return (
        f'<section><div class="bar"><h2>Pictures</h2>{"".join(controls)}</div>'
        f'<div class="pair" id="pair" data-show="both">{"".join(figures)}</div></section>'
    )


def _score_table(scores: dict[str, list[dict]]) -> str:
    rows = []
    for name, records in scores.items():
        last = records[-1]
        pick = min if re.match("fid|fd|kid", name) else max  # distances; of precision, coverage and the like more is better
        best = pick(records, key=lambda record: record["value"])
        rows.append(
            [
                name,
                f"{last['value']:.4g}",
                "" if last["floor"] is None else f"{last['floor']:.4g}",
                "" if last["way_left"] is None else f"{100 * last['way_left']:.1f} %",
                f"{last['nimg'] / 1000:.5g}",
                f"{best['value']:.4g} at {best['nimg'] / 1000:.5g} kimg",
            ]
        )
    table = _table(rows, ["score", "distance", "floor", "way left", "kimg", "best"])
    return f'<section id="scores"><h2>Scores</h2>{table}</section>' if rows else ""


def _number_table(stats: list[dict]) -> str:
    rows = []
    for name in _names(stats):
        last = next(record for record in reversed(stats) if name in record)
        value = f"{last[name]:.5g}" if _finite(last[name]) else "not finite"
        rows.append([name, value, f"{last['nimg'] / 1000:.5g}"])
    return f"<section><h2>Last numbers</h2>{_table(rows, ['mean over a tick', 'value', 'kimg'])}</section>" if rows else ""


def _option_table(options: dict) -> str:
    rows = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in options.items()]
    return f"<details><summary>Options</summary>{_table(rows)}</details>" if rows else ""


def _table(rows: list[list[str]], head: list[str] | None = None) -> str:
    """Every cell is escaped. With a `head`, all columns but the first are numbers."""
    kind = ' class="number"' if head else ""
    line = lambda tag, cells: "".join(f"<{tag}{kind if i else ''}>{html.escape(cell)}</{tag}>" for i, cell in enumerate(cells))
    top = f"<thead><tr>{line('th', head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'
