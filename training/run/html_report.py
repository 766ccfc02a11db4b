"""One HTML file that shows a run: pictures through time, curves, scores, options. It opens offline, without a server."""

import base64
import hashlib
import html
import json
import re
import time
from collections import Counter
from pathlib import Path

from torch_utils.cli import duration
from torch_utils.files import atomic_write
from torch_utils.score_names import caveat, lower_is_better
from training.run.report_curves import charts_of, sorted_means
from training.run.report_pictures import embed, evenly
from training.run.run_records import Notice, RunRecords, is_finite
from training.run.verdict import verdict

TEMPLATE = Path(__file__).with_name("html_report.html")
MAX_NOTICES = 50  # different ones
SCORE_HEAD = ["score", "value", "real vs real", "normalized", "kimg", "best"]


def write_html_report(run_dir: Path) -> None:
    """Write `report.html` anew from the files in `run_dir`, atomically; the same files give the same bytes.

    Raises `OSError` where the page cannot be written.
    """
    run = RunRecords(run_dir)
    shown = evenly(run.grids)
    pictures = embed([path for _, _, path in shown] + [run.reals])
    grids = [
        dict(kimg=kimg, label=label, seconds=run.seconds(1000 * kimg), src=pictures[path])
        for kimg, label, path in shown
        if path in pictures
    ]
    newest = dict(grids[-1]) if grids else None
    if grids:
        grids[-1]["src"] = None  # stands in the page as an image already
    write_page(
        run_dir / "report.html",
        grids,
        charts_of(run),
        **_header(run),
        notices=_notices(run.notices),
        scores=score_section([[name, *score_cells(records, name)] for name, records in run.scores.items()]),
        pictures=_pictures(newest, pictures.get(run.reals), len(grids)),
        numbers=_number_table(run.stats),
        options=_option_table(run.options),
        hint="Click on a curve to see the pictures of that time.",
    )


def write_page(path: Path, grids: list[dict], charts: list[dict], **fragments: str) -> None:
    """Fill the template, whose script draws `charts` and moves through `grids`, with fragments of HTML."""
    data = json.dumps(dict(grids=grids, charts=charts), allow_nan=False, separators=(",", ":"))
    fragments["data"] = data.replace("<", "\\u003c")  # "</script>" would end it
    template = TEMPLATE.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.S)[1]
    fragments["script_hash"] = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: fragments[match[1]], template)  # one pass: no name is a placeholder
    with atomic_write(path) as file:
        file.write(page.encode(errors="replace"))  # JSON may hold half a character, which UTF-8 has no bytes for


def _header(run: RunRecords) -> dict[str, str]:
    """The page's title, its heading, a line of facts, a bar, and the verdict."""
    traits = " · ".join(str(run.options[key]) for key in ("cfg", "modulation", "transfer") if run.options.get(key))
    done, planned = (run.nimg or 0) / 1000, run.planned_kimg
    progress = f"{done:.5g} of {planned:.5g} kimg" if planned else f"{done:.5g} kimg"
    facts, last = [f"<strong>{progress}</strong>"], run.stats[-1] if run.stats else {}
    pace = last.get("sec_per_kimg")
    if is_finite(last.get("seconds")):
        facts.append(f"{duration(last['seconds'])} of training")
    if is_finite(pace):
        facts.append(f"{pace:.4g} s per kimg")
    if planned and done >= planned:
        facts.append("done")
    elif planned and is_finite(pace):
        facts.append(f"about {duration(pace * (planned - done))} left")
    if is_finite(last.get("timestamp")) and 0 < last["timestamp"] < 2**32:
        facts.append(f"last tick {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(last['timestamp']))}")
    words = next((words for name, records in run.scores.items() if (words := verdict(name, records, planned))), "")
    return dict(
        title=html.escape(f"{run.data_name} · {progress}" + (f" · {traits}" if traits else "")),
        heading=html.escape(run.data_name) + (f" <small>{html.escape(traits)}</small>" if traits else ""),
        facts=" · ".join(facts),
        progress=f'<progress max="{planned:g}" value="{min(done, planned):g}"></progress>' if planned else "",
        verdict=f'<p class="verdict">{html.escape(words)}</p>' if words else "",
    )


def _notices(notices: list[Notice]) -> str:
    """Each once, however often it was logged; warnings first."""
    counts = dict(sorted(Counter(notices).items(), key=lambda item: item[0][0] != "warning"))
    items = [
        f'<li class="{kind}"><b>{kind.capitalize()}:</b> {html.escape(text[:1000])}'
        + (f" ({count} times)</li>" if count > 1 else "</li>")
        for (kind, text), count in counts.items()
    ]
    if len(items) > MAX_NOTICES:
        items[MAX_NOTICES:] = [f"<li>{len(items) - MAX_NOTICES} more are in log.txt</li>"]
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
        figures.append(figure(reals, "A grid of real images", "Real images", "real"))
    if newest and reals:
        buttons = "".join(f'<button data-value="{choice}">{choice}</button>' for choice in ("both", "generated", "real"))
        controls.append(f'<span class="choice needs-js" id="which">{buttons}</span>')
    return picture_section(figures, "".join(controls))


def figure(src: str, alt: str, caption: str, kind: str = "") -> str:
    image = f'<img src="{src}" alt="{html.escape(alt)}">'
    return f'<figure class="{kind}">{image}<figcaption>{html.escape(caption)}</figcaption></figure>'


def picture_section(figures: list[str], controls: str = "") -> str:
    if not figures:
        return ""
    hint = '<span class="hint needs-js">Click on a picture to enlarge it.</span>'
    pair = f'<div class="pair" id="pair" data-show="both">{"".join(figures)}</div>'
    return f'<section><div class="bar"><h2>Pictures</h2>{controls}{hint}</div>{pair}</section>'


def score_cells(records: list[dict], metric: str) -> list[str]:
    """Under SCORE_HEAD, but for its first: the last score, and the best."""
    last = records[-1]
    best = (min if lower_is_better(metric) else max)(records, key=lambda record: record["value"])
    return [
        f"{last['value']:.4g}",
        "" if last["floor"] is None else f"{last['floor']:.4g}",
        "" if last["way_left"] is None else f"{100 * last['way_left']:.1f} %",
        f"{last['nimg'] / 1000:.5g}",
        f"{best['value']:.4g} at {best['nimg'] / 1000:.5g} kimg" + (f"; {words}" if (words := caveat(last)) else ""),
    ]


def score_section(rows: list[list[str]]) -> str:
    """rows: a name and `score_cells`."""
    return f'<section id="scores"><h2>Scores</h2>{table(rows, SCORE_HEAD)}</section>' if rows else ""


def _number_table(stats: list[dict]) -> str:
    rows = []
    for name in sorted_means(stats):
        last = next(record for record in reversed(stats) if name in record)
        value = f"{last[name]:.5g}" if is_finite(last[name]) else "not finite"
        rows.append([name, value, f"{last['nimg'] / 1000:.5g}"])
    return f"<section><h2>Last numbers</h2>{table(rows, ['mean over a tick', 'value', 'kimg'])}</section>" if rows else ""


def option_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _option_table(options: dict) -> str:
    rows = [[name, option_text(value)] for name, value in options.items()]
    return f"<details><summary>Options</summary>{table(rows)}</details>" if rows else ""


def table(rows: list[list[str]], head: list[str] | None = None) -> str:
    """Every cell is escaped. With a `head`, all columns but the first are numbers."""
    kind = ' class="number"' if head else ""
    line = lambda tag, cells: "".join(f"<{tag}{kind if i else ''}>{html.escape(cell)}</{tag}>" for i, cell in enumerate(cells))
    top = f"<thead><tr>{line('th', head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'
