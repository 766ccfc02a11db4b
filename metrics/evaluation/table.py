"""Scores as a table on the terminal."""

from metrics.evaluation.session import UNTRAINED
from networks.normalized_distance import normalized_distance
from torch_utils.score_names import caveat

LABELS = {  # of the numbers beside a metric's main one
    "precision": ", precision",
    "recall": ", recall",
    "f_score": ", harmonic mean of both",
    "density": ", density",
    "coverage": ", coverage",
    "std": ", standard deviation",
    "extrapolated": ", of infinitely many",
}


def print_table(results: dict[str, dict]) -> None:
    """One metric: a record for each thing that was scored, by what it is; then real images against real images."""
    one = next(iter(results.values()))
    against = f" against {one['real']} real ones" if one["real"] else ""
    print(f"\n{one['metric']}  ({one['generated']} images{against}; {one['detector']}, resizing: {one['resizing']})")
    for what, result in results.items():
        named = {key: result[key] for key in LABELS if key in result}
        shown = named if result.get("value_is") in named else {"value": result["value"]} | named
        interval = "   95 %: {:.4g} to {:.4g}".format(*result["interval"]) if "interval" in result else ""
        for key, value in shown.items():
            print_row(f"{what}{LABELS.get(key, '')}", value, interval)
            interval = ""  # belongs to the first number
    real_vs_real = {"": one["floor"]} if one["floor"] is not None else one.get("between_reals") or {}
    for key, value in real_vs_real.items():
        print_row("real vs. real, {} against {}{}".format(*one["floor_counts"], LABELS.get(key, "")), value)
    if UNTRAINED in results:
        normalized = normalized_distance(results["generator"]["value"], one["floor"], results[UNTRAINED]["value"])
        if normalized is not None:
            print_row("normalized distance, (d − r)/(d₀ − r)", normalized)
    if words := caveat(one):
        print(f"  {words}")


def print_row(what: str, value: float, more: str = "") -> None:
    print(f"  {what:<56} {value:10.4g}{more}")
