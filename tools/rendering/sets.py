"""Tables of resampled sets."""

from .cells import Study, by_name, cells, markdown


def resampling(study: Study, data: str, classifier: str) -> str:
    """Sets of as many samples; T and the percentile of rejection stand in their names."""
    cell = cells(study)
    found = by_name(study)
    prefix = f"{data}/"
    names = [r["name"] for r in study["rows"] if r["name"].startswith(prefix) and r["metric"] == "candidates"]
    titles = ["set", "candidates a sample", "distinct", "FID ↓", "FID − uniform, 95 %", f"FID ↓ @{classifier}", "KID ↓"]
    titles += ["IS ↑", "precision ↑", "recall ↑", "density ↑", "coverage ↑"]
    rows = []
    for name in names:
        difference = found.get((name, "difference_fid"))
        shown = "0" if difference is None else f"{difference['low']:.3g} … {difference['high']:.3g}"
        metrics = [f"fid@{classifier}", "kid", "is", "precision", "recall", "density", "coverage"]
        own = [f"{found[name, 'candidates']['mean']:.3g}", f"{found[name, 'distinct']['mean']:.0%}", cell(name, "fid")]
        rows.append([set_name(name.removeprefix(prefix)), *own, shown, *(cell(name, m) for m in metrics)])
    return markdown(titles, rows)


def set_name(name: str) -> str:
    """`sir/auto/16` → `sir, T = 16`."""
    if name == "uniform":
        return name
    method, weighting, size = name.split("/")
    setting = f"percentile {size}" if method == "rejection" else f"T = {size}"
    return f"{method}, {setting}" + (", plain ratio" if weighting == "plain" else "")
