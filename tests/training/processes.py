"""Real trainings in real processes, started as a user would, in a folder of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS = 120


@dataclass(slots=True)
class Processes:
    """Starts `python -m training`, alone or in several processes, in `folder`."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
        """Run a training to its end; text out."""
        return subprocess.run(
            self.command(*words, processes=processes),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *words: str, processes: int = 1) -> subprocess.Popen[str]:
        """Start a training and return at once; what it says goes to `stderr.txt`."""
        with (self.folder / "stderr.txt").open("w") as log:
            return subprocess.Popen(
                self.command(*words, processes=processes),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
            )

    @property
    def said(self) -> str:
        """What a started training has said so far."""
        return (self.folder / "stderr.txt").read_text()

    @staticmethod
    def command(*words: str, processes: int) -> list[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        many = [*torchrun, "-m", "training"] if processes > 1 else ["-m", "training"]
        return [sys.executable, *many, *words]

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: text for name, text in os.environ.items() if "TORCHKEEP" not in name}
        return ours | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"} | self.variables

    def wait_for(self, path: str, process: subprocess.Popen[str]) -> Path:
        """Wait until a file is there that matches; fail if the training ends before."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := list(self.folder.glob(path)):
                return found[0]
            assert process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"no {path} after {SECONDS} s: {self.said}")


def workers(launcher: int) -> list[psutil.Process]:
    """Return the training processes of a launcher, by rank."""
    children = psutil.Process(launcher).children()
    training = [child for child in children if "training" in child.cmdline()]
    return sorted(training, key=lambda child: int(child.environ()["RANK"]))


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL a launcher and all below it, as a power cut would end them."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.send_signal(signal.SIGKILL)
    process.wait(timeout=SECONDS)
    psutil.wait_procs(family, timeout=SECONDS)
