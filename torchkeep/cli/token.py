"""`torchkeep token`: what a caller needs to show."""

from __future__ import annotations

import sys


def token() -> None:
    """Print the token that opens predictions now, for programs such as curl.

    Tokens change when the server starts and, by default, once a day.

    Examples:
        curl -H "Authorization: Bearer $(torchkeep token)" -T digit.png http://127.0.0.1:8080/predictions/mnist

    """
    from release.tokens import current_token
    from torchkeep.paths import Home

    sys.stdout.write(f"{current_token(Home.default())}\n")
