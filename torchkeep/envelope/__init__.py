"""The binary envelope between gateway and handler: many items of many requests in one call.

All fields are little endian; a text is its length (2 bytes) and UTF-8, and "" stands for none.

    both      magic "TKEP", version 2, kind (1 request, 2 response), then what stands below, then
              32 bytes: HMAC-SHA256 of all before it, by a key made at each start (else zeros)
    request   operation, R, N; R origins; N origin indices; N item indices; the payload: a tensor
              (dtype, C H W, N C H W values), N encoded images (N lengths, their bytes), or with
              R = N = 1 a body not yet taken apart (content type, length, its bytes)
    response  disclose, N, K, threshold; model, version; a column a field; then three short
              tables: labels, messages, attributions

Shapes: N items, R origins (requests), K classes (0 if probabilities are not told), C H W an image.

An envelope without a valid HMAC can be read, and says so (`authentic`): its reader must not
believe what it says of client, role, attempt and deadline (`Origin.as_stranger`), nor probe.
"""

from torchkeep.envelope.origin import Origin
from torchkeep.envelope.request import (
    BodyPayload,
    RequestEnvelope,
    decode_request,
    encode_request,
)
from torchkeep.envelope.response import (
    NO_CLASS,
    ResponseEnvelope,
    decode_response,
    encode_response,
)
from torchkeep.envelope.wire import CONTENT_TYPE, MAGIC, EnvelopeError

__all__ = [
    "CONTENT_TYPE",
    "MAGIC",
    "NO_CLASS",
    "BodyPayload",
    "EnvelopeError",
    "Origin",
    "RequestEnvelope",
    "ResponseEnvelope",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
]
