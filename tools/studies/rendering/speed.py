"""Tables of what was timed."""

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


def scale(study: Study) -> str:
    """A stage of the large run a row: time, and the memory of its process."""
    found = {(r["name"], r["metric"]): r["mean"] for r in study["rows"]}
    titles = ["stage", "seconds", "of CPU", "peak memory, MiB", "with mapped files, MiB"]
    metrics = ("seconds", "cpu_seconds", "anonymous_mib", "resident_mib")
    rows = [
        [name, *("–" if not found[name, m] else number(found[name, m], 3) for m in metrics)]
        for name in dict.fromkeys(name for name, _ in found)
    ]
    return markdown(titles, rows)
