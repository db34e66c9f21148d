"""Our standard AutoAttack against its authors' own, on the same weights and images.

Long: the peer's environment is made anew with pip, and both attack 1,000 images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from robustness.attacks.catalogue import build
from robustness.fitting import to_unit
from robustness.screened_model import load_classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet
from torchkeep.threat_model import Threat

HERE = Path(__file__).parent
IMAGES = 1000
BLOCK = 250
WITHIN = 0.005
MEMBERS = ("apgd-ce", "apgd-t", "fab-t", "square")


def peer_python(folder: Path) -> Path:
    """Make the peer's own environment and return its interpreter."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
    subprocess.run([*command, "-r", str(HERE / "requirements.txt")], check=True, timeout=1200)
    return python


def ask_peer(python: Path, artifact: ModelArtifact, test: ImageSet, folder: Path) -> dict:
    """Have the peer attack; return what it printed."""
    material = folder / "images.safetensors"
    tensors = {"images": torch.from_numpy(test.images), "labels": torch.from_numpy(test.labels)}
    save_file(tensors, material)
    threat = artifact.manifest.threat_model
    assert threat is not None
    words = [str(artifact.path / "model.safetensors"), str(material), str(threat.eps), str(BLOCK)]
    surroundings = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [str(python), "-W", "ignore", str(HERE / "peer.py"), *words],
        check=True,
        capture_output=True,
        text=True,
        env=surroundings,
        timeout=3600,
    )
    return json.loads(result.stdout.splitlines()[-1])


def ours(artifact: ModelArtifact, test: ImageSet, threat: Threat) -> torch.Tensor:
    """Return which images hold against all four members, each on what those before it left."""
    model = load_classifier(artifact).requires_grad_(False)
    images, labels = to_unit(test), torch.from_numpy(test.labels)
    holds = model(images).argmax(1) == labels
    for start in range(0, len(test), BLOCK):
        block = torch.arange(start, min(start + BLOCK, len(test)))
        for number, name in enumerate(MEMBERS):
            left = block[holds[block]]
            found = build(name, threat, seed=number)(model, images[left], labels[left])
            holds[left] = ~found.successful
    return holds


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_robust_accuracy_agrees_with_that_of_the_authors(
    mnist_artifact: ModelArtifact, mnist_test: ImageSet, tmp_path: Path
) -> None:
    test = mnist_test.subset(range(IMAGES))
    threat = mnist_artifact.manifest.threat_model
    assert threat is not None
    peer = ask_peer(peer_python(tmp_path / "env"), mnist_artifact, test, tmp_path)
    begun = time.perf_counter()
    holds = ours(mnist_artifact, test, threat)
    seconds = time.perf_counter() - begun
    theirs = torch.tensor(peer["holds"])
    differing = int((holds != theirs).sum())
    sys.stdout.write(
        f"images {IMAGES}: ours {holds.float().mean():.2%} in {seconds:.0f} s, "
        f"theirs {theirs.float().mean():.2%} in {peer['seconds']:.0f} s, {differing} differ\n"
    )
    assert peer["farthest"] <= threat.eps + 1e-6
    assert abs(holds.float().mean() - theirs.float().mean()) <= WITHIN
