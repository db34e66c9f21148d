"""Peers are pinned, made once, and made anew when their pins change."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from loadtests.benchmarks.serving import peers
from torchkeep.errors import ServerError

PEERS = ("litserve", "mlserver")


@pytest.mark.parametrize("peer", PEERS)
def test_every_requirement_of_a_peer_is_an_exact_pin(peer: str) -> None:
    lines = (peers.FOLDER / peer / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin)] == []
    assert any(pin.startswith(f"{peer}==") for pin in pins)


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_computes_with_the_torch_that_we_have(peer: str) -> None:
    constraints = Path(peers.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    ours = {line for line in constraints if line.startswith(("torch==", "safetensors=="))}
    lines = (peers.FOLDER / peer / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert ours <= set(lines)


@pytest.fixture
def empty_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer that pins nothing: it can be made without a network."""
    folder = tmp_path / "peers" / "nobody"
    folder.mkdir(parents=True)
    monkeypatch.setattr(peers, "FOLDER", tmp_path / "peers")
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path / "home"))
    pins = folder / "requirements.txt"
    pins.write_text("# nothing\n")
    return pins


def test_an_environment_is_made_once_and_anew_when_the_pins_change(empty_peer: Path) -> None:
    python = peers.environment_of("nobody")
    said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True)
    assert Path(said.stdout.decode().strip()) == python.parents[1]
    witness = python.parents[1] / "witness"
    witness.touch()
    peers.environment_of("nobody")
    assert witness.exists()
    empty_peer.write_text("# nothing, in other words\n")
    peers.environment_of("nobody")
    assert not witness.exists()


def test_a_peer_that_cannot_be_installed_is_told_and_tried_again(empty_peer: Path) -> None:
    empty_peer.write_text("no-such-package-at-all==1.0\n")
    nowhere = ["--no-index", "--isolated"]
    for _ in range(2):
        with pytest.raises(ServerError, match=r"nobody cannot be installed: .*no-such-package"):
            peers.environment_of("nobody", nowhere)
