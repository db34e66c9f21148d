"""`torchkeep token`: what a caller needs to show."""

from __future__ import annotations

import sys


def token() -> None:
    """Print the API key of this machine's command line, for programs such as curl.

    It is made when a server first starts here. Keys for others: torchkeep key.

    Examples:
        curl -H "Authorization: Bearer $(torchkeep token)" -T digit.png http://127.0.0.1:8000/predictions/mnist

    """
    from gateway.identity.local_key import local_key
    from torchkeep.paths import Home

    sys.stdout.write(f"{local_key(Home.default())}\n")
