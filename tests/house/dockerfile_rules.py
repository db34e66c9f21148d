"""What the Dockerfile has to be, beyond what hadolint knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|PRIVATE|API_?KEY", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its continuation lines joined: `RUN`, `apt-get update; ...`."""

    keyword: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form (`["a", "b"]`); none if it is a shell form."""
        start = self.text.find("[")
        return [str(word) for word in json.loads(self.text[start:])] if start >= 0 else []


def instructions(dockerfile: str) -> list[Instruction]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [Instruction(keyword.upper(), text.strip()) for keyword, text in pairs]


def stages(dockerfile: str) -> list[list[Instruction]]:
    """Return the instructions of each stage, its FROM first; what stands before is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions(dockerfile):
        if instruction.keyword == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def only(stage: Sequence[Instruction], keyword: str) -> Instruction | None:
    """Return the instruction of a stage that takes effect: the last of its kind."""
    return next((one for one in reversed(stage) if one.keyword == keyword), None)


def faults(dockerfile: str) -> list[str]:
    """Return one line for each rule that a Dockerfile breaks."""
    everything, final = instructions(dockerfile), stages(dockerfile)[-1]
    found = [*_base_faults(everything), *_final_faults(final)]
    for instruction in everything:
        found += _instruction_faults(instruction)
    return found


def _base_faults(everything: Sequence[Instruction]) -> Iterator[str]:
    first = everything[0]
    if not re.fullmatch(r"ARG BASE_IMAGE=\S+:\S*\d\S*", f"{first.keyword} {first.text}"):
        yield "the base is no build argument with a version"
    for instruction in everything:
        if instruction.keyword == "FROM" and instruction.text.split()[0] != "${BASE_IMAGE}":
            yield f"FROM {instruction.text} does not start from the base"


def _final_faults(final: Sequence[Instruction]) -> Iterator[str]:
    user, entry = only(final, "USER"), only(final, "ENTRYPOINT")
    if user is None or not re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user.text):
        yield "does not run as a numbered, unprivileged user"
    if entry is None or entry.words[:2] != ["tini", "--"]:
        yield "no init is process 1"
    for keyword in ("HEALTHCHECK", "CMD"):
        instruction = only(final, keyword)
        if instruction is None or not instruction.words:
            yield f"no {keyword} in exec form"
    if any(one.keyword == "COPY" and "--from=" not in one.text for one in final):
        yield "the final stage copies from the build context"
    if any(one.keyword == "EXPOSE" for one in final):
        yield "exposes a port, though the server listens on loopback only"


def _instruction_faults(instruction: Instruction) -> Iterator[str]:
    keyword, text = instruction.keyword, instruction.text
    if keyword == "ADD":
        yield f"ADD {text}: COPY what is here, install the rest by a package manager"
    if keyword in {"ENV", "ARG"} and SECRET_NAME.search(text):
        yield f"{keyword} {text}: a secret would stay in the image"
    if keyword == "RUN":
        yield from (f"RUN {command}: {fault}" for command, fault in _run_faults(text))


def _run_faults(text: str) -> Iterator[tuple[str, str]]:
    for command in (part.strip() for part in re.split(r";|&&|\|\|", text)):
        if re.search(r"\b(curl|wget)\b", command):
            yield command, "downloads something that no package manager checks"
        if re.search(r"\bpip3? install\b", command) and not _is_pinned(command):
            yield command, "installs what is not pinned"
        if "apt-get install" in command and "--no-install-recommends" not in command:
            yield command, "installs what nobody asked for"
    if "apt-get install" in text and "rm -rf /var/lib/apt/lists/*" not in text:
        yield text, "leaves the package lists"


def _is_pinned(command: str) -> bool:
    wanted = command.split(" install ")[1].split()
    options = {"-c constraints.txt", "--no-deps"}
    return any(option in command for option in options) or all("==" in word for word in wanted)
