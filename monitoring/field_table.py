"""The tables of the records' fields for the documentation, written from the schema.

`python -m monitoring.field_table docs/request-log.md` renews each table between its two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from monitoring.field_types import nested_record, type_name
from torchkeep.atomic_file import write_atomic
from torchkeep.schema import LOGGED, FieldSpec, InferenceRecord, fields_of

BEGIN = "<!-- {} fields: written by `python -m monitoring.field_table docs/request-log.md` -->"
END = "<!-- end of fields -->"


def field_table(record: type = InferenceRecord) -> str:
    """Return a Markdown table of the fields, nested ones as `outer.inner`."""
    rows = [f"| `{name}` | {_kind(field)} | {field.doc} |" for name, field in _flatten(record)]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def with_current_table(page: str) -> str:
    """Return a Markdown page with the table of each kind of record renewed, if it has one."""
    for kind, record in LOGGED.items():
        before, begin, rest = page.partition(BEGIN.format(kind))
        _, _, after = rest.partition(END)
        if begin:
            page = f"{before}{begin}\n\n{field_table(record)}\n\n{END}{after}"
    return page


def _flatten(record: type, prefix: str = "") -> Iterator[tuple[str, FieldSpec]]:
    for field in fields_of(record):
        name = prefix + field.name
        yield name, field
        nested = nested_record(field.type)
        if nested is not None:
            yield from _flatten(nested, f"{name}.")


def _kind(field: FieldSpec) -> str:
    return type_name(field.type) + ("" if field.required else ", optional")


if __name__ == "__main__":
    document = Path(sys.argv[1])
    write_atomic(document, with_current_table(document.read_text("utf-8")).encode())
