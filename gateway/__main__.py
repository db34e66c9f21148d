"""Run the gateway: `python -m gateway DESCRIPTION [--http-port N --grpc-port N --observe-port N]`.

DESCRIPTION is the file that says what stands behind it (`gateway/upstream.py`). When it listens it
prints `ready HTTP_PORT GRPC_PORT OBSERVE_PORT`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway.config import GatewayConfig
from gateway.server import serve
from torchkeep.errors import TorchkeepError
from torchkeep.settings import Settings

PORTS = ("http_port", "grpc_port", "observe_port")


def main(arguments: list[str]) -> int:
    """Serve until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("description", type=Path, help="what stands behind the gateway")
    for port in PORTS:
        parser.add_argument(f"--{port.replace('_', '-')}", type=int, help="instead of the setting")
    given = vars(parser.parse_args(arguments))
    try:
        settings = Settings.load()
        ports = {name: given[name] for name in PORTS if given[name] is not None}
        config = replace(settings.section("gateway", GatewayConfig), **ports)
        uvloop.run(serve(given["description"], settings, config))
    except TorchkeepError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
