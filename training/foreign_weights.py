"""Weights that were trained elsewhere: safetensors, never a pickle, and they must fit whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchkeep.errors import ArtifactError, SettingsError

PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"})
NAMED = 3
"""How many keys of a kind an error names."""
_CONVERT = (
    "import torch; from safetensors.torch import save_file; "
    "s = torch.load({old!r}, weights_only=True); s = s.get('state_dict', s); "
    "save_file({{k: v.clone().contiguous() for k, v in s.items()}}, {new!r})"
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises `ArtifactError` if it cannot be read, is damaged, or is a pickle, which could run code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix.lower() in PICKLES:
        convert = _CONVERT.format(old=str(path), new=str(path.with_suffix(".safetensors")))
        raise ArtifactError(
            f"{path} is a pickle, which could run code when it is loaded",
            remedy=f'Convert it where you trust it: python -c "{convert}"',
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is no whole safetensors file: {error}",
            remedy="Copy it again, or save it with safetensors.torch.save_file.",
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give `network` all of `weights` and nothing else.

    Raises `ArtifactError` that names keys which are missing, unexpected or of another shape, and
    `SettingsError` if the network's state is none of plain tensors.
    """
    if any(is_lazy(each) for each in (*network.parameters(), *network.buffers())):
        raise SettingsError(
            f"{type(network).__name__} has layers without a size",
            remedy="Name the sizes in the class: nn.Linear in place of nn.LazyLinear.",
        )
    wanted = network.state_dict()
    if others := sorted(key for key, value in wanted.items() if not isinstance(value, Tensor)):
        raise SettingsError(
            f"the state of {type(network).__name__} holds more than tensors ({others[0]})",
            remedy="Keep tensors only: an artifact holds no pickles.",
        )
    faults = [
        _fault("missing", _missing(wanted, weights)),
        _fault("unexpected", weights.keys() - wanted.keys()),
        _fault("of another shape", _misshapen(wanted, weights)),
    ]
    if any(faults):
        raise ArtifactError(
            f"{path} does not fit {type(network).__name__}: {', '.join(filter(None, faults))}",
            remedy=_remedy(wanted, weights),
        )
    network.load_state_dict(weights, strict=False)


def _missing(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> set[str]:
    """Return the keys that are not there, but for names of one tensor whose other name is."""
    given = {tensor.data_ptr() for key, tensor in wanted.items() if key in weights}
    return {
        key
        for key in wanted.keys() - weights.keys()
        if not wanted[key].numel() or wanted[key].data_ptr() not in given
    }


def _misshapen(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} ({_shape(weights[key])}, not {_shape(tensor)})"
        for key, tensor in wanted.items()
        if key in weights and weights[key].shape != tensor.shape
    ]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _fault(kind: str, keys: Iterable[str]) -> str:
    found = sorted(keys)
    named = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
    return f"{len(found)} {kind} ({named})" if found else ""


def _remedy(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    heads = {key.partition(".")[0] for key in weights}
    stripped = {key.partition(".")[2] for key in weights}
    if len(heads) == 1 and stripped == wanted.keys():
        return f"Every key begins with '{heads.pop()}.': save the state of what is inside it."
    return "Give the weights of this very class, and its arguments with --option key=value."
