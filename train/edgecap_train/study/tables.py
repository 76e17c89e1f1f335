"""The study's tables in Markdown, and its main claims in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgecap_train.evaluation.metrics import Interval
from edgecap_train.study.claims import CLAIMS, MAIN_CLAIMS, SMALL_GAIN, ClaimComparison, compare_all, interval
from edgecap_train.study.evaluation_sets import MEASURES
from edgecap_train.study.results import Results
from edgecap_train.study.study import ROWS, Row

Comparisons = dict[str, dict[str, ClaimComparison | None]]
"""Text of a claim → measure → comparison."""


def table(results: Results) -> list[str]:
    """A line for each row that has results."""
    lines = _head("row", *_titles(results), "seeds", "parameters")
    for row in ROWS:
        if row.key not in results.scores:
            continue
        runs = [run for run in results.runs if run["row"] == row.key]
        cells = [str(interval(results.scores[row.key][measure])) for measure in results.sets]
        lines.append(_line(title_of(row), *cells, str(len(runs)), f"{int(runs[0]['parameters']) / 1e6:.1f} M"))
    return lines


def sources(results: Results) -> list[str]:
    """A line for each row with its mean on each evaluation set of a measure that has several; none where none has."""
    sets = [(measure, name) for measure, of in results.sets.items() if len(of) > 1 for name in of]
    if not sets:
        return []
    lines = _head("row", *(f"{name} ({results.sets[measure][name]})" for measure, name in sets))
    for row in ROWS:
        if row.key in results.scores:
            means = [results.of_set(row.key, measure, name).mean() for measure, name in sets]
            lines.append(_line(title_of(row), *(f"{mean:.2f}" for mean in means)))
    return lines


def claims(results: Results, comparisons: Comparisons | None = None) -> list[str]:
    """A line for each claim, with its difference on each measure and whether it holds."""
    comparisons = comparisons or compare_all(results)
    lines = _head("the paper's claim", *(cell for title in _titles(results) for cell in (title, "")))
    for claim in CLAIMS:
        cells = []
        for one in comparisons[claim.text].values():
            cells += ["", "not run"] if one is None else [_signed(one.gain), one.verdict]
        lines.append(_line(claim.text, *cells))
    return lines


def power_table(results: Results, measure: str, comparisons: Comparisons) -> list[str]:
    """A line for each claim that was run: what it would take to decide it on one measure."""
    lines = _head(
        "the paper's claim",
        "seen",
        "decided from",
        "seeds for the seen",
        "or clips",
        f"seeds for {SMALL_GAIN}",
        "or clips",
        "more seeds never remove",
        "10 seeds, 10 x the clips decide from",
    )
    for claim in CLAIMS:
        one = comparisons[claim.text][measure]
        if one is None:
            continue
        needed = (one.seeds_for_seen, one.clips_for_seen, one.seeds_for_small, one.clips_for_small)
        lines.append(
            _line(
                claim.text,
                f"{one.gain.mean:+.2f}",
                f"{one.smallest:.2f}",
                *map(count, needed),
                f"{one.lasting_share:.0%}",
                f"{one.smallest_of_ten:.2f}",
            )
        )
    return lines


def main_claims(results: Results, comparisons: Comparisons) -> list[str]:
    """A line for each of the paper's main claims, in words: what is decided here, and what would be by more runs."""
    return [_in_words(results, comparisons, main) for main in MAIN_CLAIMS]


def title_of(row: Row) -> str:
    """A row's title as tables have it."""
    return f"{row.title} (both small)" if row.key == "sup-full" else row.title


def count(needed: int | None) -> str:
    """Seeds or clips that are needed, two digits of it; "never" for None."""
    if needed is None:
        return "never"
    return f"{needed:,}" if needed < 100 else f"{float(f'{needed:.2g}'):,.0f}"


def _in_words(results: Results, comparisons: Comparisons, main: str) -> str:
    parts = [claim for claim in CLAIMS if claim.part_of == main]
    sentences = []
    for measure in results.sets:
        compared = [one for claim in parts if (one := comparisons[claim.text][measure]) is not None]
        if not compared:
            continue
        verdicts = Counter(one.verdict for one in compared)
        said = ", ".join(f"{verdict} in {number} of {len(compared)}" for verdict, number in verdicts.items())
        sentence = f"on {MEASURES[measure]} {said}"  # type: ignore[index]
        unsure = [one for one in compared if one.verdict == "undecided"]
        if unsure:
            now = _range([one.smallest for one in unsure])
            later = _range([one.smallest_of_ten for one in unsure])
            sentence += (
                f" ({unsure[0].seeds} seeds and {unsure[0].clips} clips decide differences of at least {now}; "
                f"10 seeds and {10 * unsure[0].clips} clips would {later})"
            )
        sentences.append(sentence)
    name = main[0].upper() + main[1:]
    return f"- **{name}**: {'; '.join(sentences)}." if sentences else f"- **{name}**: not run."


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _titles(results: Results) -> list[str]:
    return [MEASURES[measure] for measure in results.sets]  # type: ignore[index]


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + "---|" * len(cells)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
