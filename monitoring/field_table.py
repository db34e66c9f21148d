"""The table of a record's fields for the documentation, written from the schema.

`python -m monitoring.field_table docs/request-log.md` renews the table between its two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from monitoring.field_types import nested_record, type_name
from torchkeep.atomic_file import write_atomic
from torchkeep.schema import FieldSpec, InferenceRecord, fields_of

BEGIN = "<!-- fields: written by `python -m monitoring.field_table docs/request-log.md` -->"
END = "<!-- end of fields -->"


def field_table(record: type = InferenceRecord) -> str:
    """Return a Markdown table of the fields, nested ones as `outer.inner`."""
    rows = [f"| `{name}` | {_kind(field)} | {field.doc} |" for name, field in _flatten(record)]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def with_current_table(page: str) -> str:
    """Return a Markdown page with the table between its markers renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{field_table()}\n\n{END}{after}"


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
