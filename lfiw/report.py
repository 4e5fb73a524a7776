"""report.html: one file with the tables and pictures of an evaluation, readable without a network."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lfiw.files import write_atomically
from lfiw.tables import is_paper, proportion_rows, score_rows

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ record.experiment }}: lfiw report</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
  table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
  th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; }
  tr.recommended { background: #eef3fb; }
  img { max-width: 100%; }
  .note { color: #666; }
</style>
<h1>{{ record.experiment }}</h1>
<p>{{ "{:,}".format(record.num_generated) }} generated samples against {{ "{:,}".format(record.num_real) }} real ones,
none of which trained or chose anything. Features: {{ record.extractors | map(attribute="name") | join(", ") }}.</p>
<p><strong>Recommended: {{ record.recommended }}.</strong> {{ record.reason }}</p>
{% macro table(marked, titles, rows) %}
<table>
  <tr>{% for title in titles %}<th>{{ title }}</th>{% endfor %}</tr>
  {% for row in rows %}
  <tr{% if marked in row[0] %} class="recommended"{% endif %}>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
  {% endfor %}
</table>
{% endmacro %}
<h2>Scores</h2>
{{ table("★", *scores) }}
{% if paper_scores %}
<p>By the definitions of the paper's official code:</p>
{{ table("★", *paper_scores) }}
{% endif %}
<p class="note">ESS: number of equally weighted samples that carry as much information. k̂: shape of the upper tail of
the weights; above {{ "%.2f" | format(record.pareto_k_threshold) }} a weighted mean is not to be trusted. FID is biased
upward at a small ESS: a weighting with few effective samples is held back by that alone.</p>
{% if proportions %}
<h2>Class proportions</h2>
{{ table("distance", *proportions) }}
{% endif %}
{% for name, data in pictures.items() %}
<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{% endfor %}
<p class="note">Made by lfiw {{ record.version }}.</p>
</html>
"""


def write_report(file: Path, record: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
    """Writes the page.

    Args:
        record: content of evaluation.json.
        pictures: heading → PNG file; they are put into the page.
    """
    record = dict(record)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    page = template.render(
        record=record,
        scores=score_rows(record),
        paper_scores=score_rows(record, paper=True) if any(map(is_paper, record["weightings"][0]["metrics"])) else None,
        proportions=proportion_rows(record) if record["real_class_proportions"] else None,
        pictures={name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()},
    )
    write_atomically(file, page)
