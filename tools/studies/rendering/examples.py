"""Tables of the examples of other fields."""

from .cells import Study, by_name, markdown, names_of


def example(study: Study) -> str:
    """A row per method and a column per score: the mean and what its 95 % interval reaches to either side."""
    found = by_name(study)
    scores = list(dict.fromkeys(r["metric"] for r in study["rows"]))
    rows = []
    for name in names_of(study):
        own = [found[name, score] for score in scores]
        rows.append([name, *(f"{number(r['mean'], 3)} ± {number(r['high'] - r['mean'], 2)}" for r in own)])
    return markdown(["", *scores], rows)


def number(value: float, digits: int) -> str:
    """So many digits; all of them before the point."""
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"
