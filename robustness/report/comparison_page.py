"""A comparison of two reports as lines of text, as Markdown and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.evaluation.summary import share_text
from robustness.report.comparison import LEVEL, Comparison, Difference, Outcome
from robustness.report.markdown import document
from robustness.report.wording import NOT_THERE, number_text
from torchkeep.render.page import Section, Table, Tone, page
from torchkeep.render.plain import one_line

LONGEST_LINE = 600
TITLE = "Two robustness reports compared"


def comparison_html(comparison: Comparison) -> str:
    """Return the page."""
    return page(TITLE, list(_sections(comparison)))


def comparison_markdown(comparison: Comparison) -> str:
    """Return the same in Markdown."""
    return document(TITLE, list(_sections(comparison)))


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield lines for a terminal: what differs, then figures that are not the same."""
    for line in _lines(comparison):
        yield one_line(line, LONGEST_LINE)


def _lines(comparison: Comparison) -> Iterator[str]:
    yield from _opening(comparison)
    for change in comparison.changes:
        mark = "" if change.like else " (another test)"
        yield f"differs: {change.what}{mark}: {change.before} -> {change.after}"
    for one in sorted(comparison.differences, key=_urgency):
        if one.outcome not in (Outcome.SAME, Outcome.WITHHELD):
            yield f"{one.outcome.upper()}: {one.figure}: {_both(one)}"
    yield _tally(comparison)
    yield method(comparison)


def method(comparison: Comparison) -> str:
    """Return how the figures were judged."""
    return (
        f"Fisher's exact test on counts, two-sided, corrected for {comparison.tested} figures "
        f"(Holm) at {LEVEL:g} over all. Same within noise: no difference was shown; with more "
        "images one may be."
    )


def _sections(comparison: Comparison) -> Iterator[Section]:
    verdict = [*_opening(comparison), _tally(comparison)]
    verdict += [f"{one.outcome}: {one.figure}: {_both(one)}." for one in comparison.setbacks]
    tone = Tone.BAD if comparison.setbacks or not comparison.like else Tone.GOOD
    yield Section(title="Verdict", text="\n\n".join(verdict), tone=tone)
    changes: list[tuple[object, ...]] = [
        (c.what, "no" if c.like else "YES", c.before, c.after) for c in comparison.changes
    ] or [("nothing", "no", None, None)]
    columns = ("what differs", "another test?", "first", "second")
    yield Section(title="What differs", text=_DIFFERS, table=Table(columns, changes))
    figures = [
        (one.figure, share_text(one.before), share_text(one.after), _p_text(one.p),
         one.outcome.value)
        for one in sorted(comparison.differences, key=_urgency)
    ]  # fmt: skip
    names = ("figure", "first", "second", "p, corrected", "outcome")
    yield Section(title="Figures", text=method(comparison), table=Table(names, figures))
    if comparison.scores:
        scores = [
            (s.figure, number_text(s.before), number_text(s.after)) for s in comparison.scores
        ]
        yield Section(
            title="AUROC",
            text="Told and not judged: a report has no counts for it.",
            table=Table(("figure", "first", "second"), scores),
        )


def _opening(comparison: Comparison) -> Iterator[str]:
    yield f"First: {comparison.before}. Second: {comparison.after}."
    if comparison.like:
        yield "The same test: data, images, threats, attacks, budgets and seeds are the same."
    else:
        names = ", ".join(change.what for change in comparison.changes if not change.like)
        yield f"NOT the same test, so read every difference with doubt: {names}."


def _tally(comparison: Comparison) -> str:
    counts = [
        f"{len(comparison.with_outcome(outcome))} {outcome}"
        for outcome in Outcome
        if comparison.with_outcome(outcome)
    ]
    return f"Of {len(comparison.differences)} figures: {', '.join(counts)}."


def _p_text(p: float | None) -> str:
    return NOT_THERE if p is None else f"{p:.2g}"


def _both(one: Difference) -> str:
    p = "" if one.p is None else f" (p = {one.p:.2g})"
    return f"{share_text(one.before)} -> {share_text(one.after)}{p}"


_ORDER = (
    Outcome.WORSE, Outcome.LOST, Outcome.BETTER, Outcome.NEW, Outcome.SAME, Outcome.WITHHELD,
)  # fmt: skip


def _urgency(one: Difference) -> int:
    return _ORDER.index(one.outcome)


_DIFFERS = (
    "What makes it another test comes first: different data, images, threats or budgets can move a "
    "figure by themselves."
)
