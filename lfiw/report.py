"""report.html: one file with the tables and pictures of an evaluation, readable without a network."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lfiw.diagnosis import chasm_warning
from lfiw.files import write_atomically
from lfiw.tables import (
    classifier_rows,
    correction_rows,
    has_intervals,
    infinite_rows,
    is_paper,
    proportion_rows,
    score_rows,
    verdict_line,
)

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
  .warning { background: #fdf3d8; padding: .5rem .8rem; }
</style>
<h1>{{ record.experiment }}</h1>
<p>{{ "{:,}".format(record.num_generated) }} generated samples against {{ "{:,}".format(record.num_real) }} real ones,
none of which trained or chose anything. Features: {{ record.extractors | map(attribute="name") | join(", ") }}.</p>
<p><strong>{{ verdict }}</strong></p>
{% if warning %}<p class="warning">{{ warning }}</p>{% endif %}
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
{% if corrections %}
<p>Corrections, with 95 % intervals over other samples of this size, the classifier held fixed. “Equal ESS”: the same
weights permuted across the samples, which corrects nothing and has the same bias of few samples.</p>
{{ table("★", *corrections) }}
{% endif %}
{% if infinite[1] %}
<p>Extrapolated to infinitely many samples:</p>
{{ table("★", *infinite) }}
{% endif %}
{% if paper_scores %}
<p>By the definitions of the paper's official code:</p>
{{ table("★", *paper_scores) }}
{% endif %}
<p class="note">ESS: number of equally weighted samples that carry as much information. k̂: shape of the upper tail of
the weights; above {{ "%.2f" | format(record.pareto_k_threshold) }} a weighted mean is not to be trusted. FID is biased
upward at a small ESS: a weighting with few effective samples is held back by that alone.</p>
<h2>Ratio classifier</h2>
<p>On {{ "{:,}".format(record.classifier.num_real) }} real and {{ "{:,}".format(record.classifier.num_generated) }}
generated validation rows, {{ "%.1f" | format(100 * record.classifier.accuracy) }} % are told apart
(two-sample test: p = {{ "%.2g" | format(record.classifier.two_sample_p_value) }}). Both means are 1 for the exact
ratio.</p>
{{ table("★", *classifier) }}
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
        verdict=verdict_line(record),
        warning=chasm_warning(record["classifier"]),
        scores=score_rows(record),
        corrections=correction_rows(record) if has_intervals(record) else None,
        infinite=infinite_rows(record),
        classifier=classifier_rows(record),
        paper_scores=score_rows(record, paper=True) if any(map(is_paper, record["weightings"][0]["metrics"])) else None,
        proportions=proportion_rows(record) if record["real_class_proportions"] else None,
        pictures={name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()},
    )
    write_atomically(file, page)
