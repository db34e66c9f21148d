"""What a load test can be told, beside Locust's own options; each also as a LOCUST_* variable.

Values stay texts and numbers, for Locust's web page shows and changes them.
"""

from __future__ import annotations

import argparse
import math
import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests import images
from torchkeep.client import Token

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

Kind = Callable[[str], object]


def add_options(parser: LocustArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("Torchkeep")

    def option(name: str, default: object, kind: Kind, text: str) -> None:
        variable = f"LOCUST_{name.upper().replace('-', '_')}"
        group.add_argument(f"--{name}", default=default, type=kind, env_var=variable, help=text)

    option("grpc-host", "grpc://127.0.0.1:8001", str, "Address that gRPC users ask.")
    option("model", "mnist", str, "Name of the model.")
    option("model-version", "", str, "Version of the model; the server's default if not given.")
    option("token-file", "", _file, "File with the token, read anew for each request.")
    option("items", 1, _count, "Images in a request.")
    option("requests", 0, _whole, "Requests after which to end; 0: only --run-time ends it.")
    option("rate", 0.0, _rate, "Requests a second of each user, at most; 0: without a pause.")
    option("deadline", 10.0, _deadline, "Seconds until a request has failed.")
    option("images", "", _images, "An .npy file of images to send: uint8, N C H W.")
    option("shape", "1x28x28", _shape, "Channels, height and width of images to draw.")
    option("image-seed", 0, _whole, "Seed of the images to draw.")


def token_of(options: argparse.Namespace) -> Token:
    """Return how to get the token: from the file, else from TORCHKEEP_TOKEN, else there is none."""
    if options.token_file:
        return Path(options.token_file).read_text
    return os.environ.get("TORCHKEEP_TOKEN")


def _file(text: str) -> str:
    if text and not os.access(text, os.R_OK):
        raise ArgumentTypeError(f"{text} cannot be read")
    return text


def _images(text: str) -> str:
    try:
        if text:
            images.load(Path(text))
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _shape(text: str) -> str:
    try:
        images.shape_of(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a rate from 0")
    return rate


def _deadline(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
