"""Tables of timings, and of differences to independent implementations."""

from lfiw.evaluation.tables import number

from .cells import Study, markdown


def benchmarks(study: Study) -> str:
    titles = ["benchmark", "ours", "peer", "peer's", "times as fast (range)", "goal"]
    rows = []
    for r in study["rows"]:
        ours, theirs = (f"{number(r[side], 3)} {r['unit']}" for side in ("ours", "theirs"))
        ratio = f"{number(r['ratio'], 3)} ({number(r['min'], 3)}–{number(r['max'], 3)})"
        rows.append([r["name"], ours, r["peer"], theirs, ratio, "–" if r["goal"] is None else f"{r['goal']:g}"])
    return markdown(titles, rows)


def precision(study: Study) -> str:
    """Lists each stage against each of its oracles."""
    titles = ["stage", "oracle", "difference", "bound in CI", "why the bound"]
    rows = []
    for r in study["rows"]:
        unit = {"relative": "", "absolute": ", absolute"}.get(r["metric"], f" {r['metric']}")
        difference = f"{r['mean']:.1e}" if r["mean"] else "0"
        rows.append([r["stage"], r["oracle"], difference + unit, f"{r['bound']:g}{unit}", r["why"]])
    return markdown(titles, rows)


def scale(study: Study) -> str:
    """Lists the stages of the large run: time, and memory of its process."""
    values = {(r["name"], r["metric"]): r["mean"] for r in study["rows"]}
    titles = ["stage", "seconds", "of CPU", "peak memory, MiB", "with mapped files, MiB"]
    metrics = ("seconds", "cpu_seconds", "anonymous_mib", "resident_mib")
    rows = [
        [name, *("–" if not values[name, m] else number(values[name, m], 3) for m in metrics)]
        for name in dict.fromkeys(name for name, _ in values)
    ]
    return markdown(titles, rows)
