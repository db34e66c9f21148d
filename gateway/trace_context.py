"""The header `traceparent`: which trace a request belongs to, and its caller's place in it.

Source: W3C Trace Context, level 1, sections 3.2 and 4.3. `tracestate` is not carried: section 4.3
lets a participant leave it out.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_HEADER = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = 1
_TRACE_BYTES, _SPAN_BYTES = 16, 8


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace: 32 and 16 lower-case hex digits, and whether the trace is kept."""

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def parse(cls, header: str) -> TraceContext | None:
        """Read a `traceparent`; None if it is missing or not as the specification has it.

        A version later than 00 is read as far as 00 goes (section 4.3).
        """
        if not header or (found := _HEADER.fullmatch(header)) is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == "00" and rest is not None:
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))

    @classmethod
    def new(cls, *, sampled: bool) -> TraceContext:
        """Begin a trace."""
        return cls(_digits(_TRACE_BYTES), _digits(_SPAN_BYTES), sampled)

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, _digits(_SPAN_BYTES), self.sampled)

    def header(self) -> str:
        """The `traceparent` that tells of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def _digits(count: int) -> str:
    """Hex digits of that many random bytes; all zeros mean "none", so never those."""
    while not int(digits := secrets.token_hex(count), 16):
        continue
    return digits
