"""What is an id, and what names a trace."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.ids import new_id, trace_id_of, valid_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
FUZZ = settings(deadline=None, max_examples=200, derandomize=True)

hexes = st.text("0123456789abcdef", min_size=1)


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-00-what-the-future-brings"]
)
def test_a_traceparent_names_its_trace(traceparent: str) -> None:
    assert trace_id_of(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01x",
        f"00-{TRACE[1:]}-{PARENT}-01",
    ],
)
def test_what_breaks_the_specification_names_no_trace(traceparent: str) -> None:
    assert trace_id_of(traceparent) is None


@FUZZ
@given(st.text(max_size=70) | st.lists(hexes, min_size=3, max_size=5).map("-".join))
def test_a_trace_id_is_32_hex_digits_of_the_text_or_none(text: str) -> None:
    found = trace_id_of(text)
    if found is not None:
        assert len(found) == 32
        assert text[3:35] == found
        assert int(found, 16) > 0


@FUZZ
@given(st.text(max_size=140))
def test_an_id_comes_back_as_it_is(text: str) -> None:
    assert valid_id(text) in (text, None)
    assert (valid_id(text) is None) == (
        not 1 <= len(text) <= 128
        or any(not (c.isascii() and (c.isalnum() or c in "._:-")) for c in text)
    )


def test_new_ids_are_ids_and_differ() -> None:
    made = {new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(map(valid_id, made))
