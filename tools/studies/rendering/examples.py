"""Tables of the examples of other fields."""

from .cells import Study, by_name, markdown, names_of


def example(study: Study) -> str:
    """Makes a table with one row per method and one column per score: mean ± half-width of its 95 % interval."""
    found = by_name(study)
    scores = list(dict.fromkeys(r["metric"] for r in study["rows"]))
    rows = []
    for name in names_of(study):
        own = [found[name, score] for score in scores]
        rows.append([name, *(f"{number(r['mean'], 3)} ± {number(r['high'] - r['mean'], 2)}" for r in own)])
    return markdown(["", *scores], rows)


def number(value: float, digits: int) -> str:
    """Formats a number with this many digits, but with all digits before the point."""
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"
