from __future__ import annotations

from pathlib import Path

from monitoring.field_table import BEGIN, END, field_table, with_current_table
from torchkeep.schema import LOGGED, AccessRecord, InferenceRecord, fields_of

PAGE = Path(__file__).parents[2] / "docs" / "request-log.md"


def test_the_documented_fields_are_those_of_the_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    renew = "run: python -m monitoring.field_table docs/request-log.md"
    assert page == with_current_table(page), renew


def test_each_field_has_a_row_and_nested_ones_too() -> None:
    rows = field_table().splitlines()
    for field in fields_of(InferenceRecord):
        assert sum(row.startswith(f"| `{field.name}` |") for row in rows) == 1
    assert "| `screening.score` | number or null |" in field_table()
    assert "| `session_id` | text, optional |" in field_table()
    assert "| `probability` | list of numbers |" in field_table()


def test_a_stale_table_is_replaced_and_the_rest_kept() -> None:
    begin = BEGIN.format("inference")
    page = f"# Title\n\n{begin}\nold\n{END}\n\nend\n"
    renewed = with_current_table(page)
    assert renewed.startswith(f"# Title\n\n{begin}\n\n| field |")
    assert renewed.endswith(f"|\n\n{END}\n\nend\n")
    assert with_current_table(renewed) == renewed


def test_the_page_has_the_table_of_every_kind() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in LOGGED if BEGIN.format(kind) not in page] == []
    assert field_table(AccessRecord) in page
    assert "| `backend_ms` | number |" in field_table(AccessRecord)
