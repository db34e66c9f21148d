"""What no file of the project may do: unpickle, run a shell, evaluate text.

A syntax-tree walk, so it sees names, not values: a call through an alias it cannot follow passes.
It is a fence against habit, not against an adversary.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

PICKLERS = frozenset(
    {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
)
NUMPY_LOADERS = frozenset({"np.load", "numpy.load"})
CALLS = {
    "torch.load": "unpickles; use safetensors",
    "torch.save": "pickles; use safetensors",
    "torch.jit.load": "runs code from the file; use safetensors",
    "pandas.read_pickle": "unpickles",
    "pd.read_pickle": "unpickles",
    "yaml.load": "may build any object; use yaml.safe_load",
    "yaml.unsafe_load": "may build any object; use yaml.safe_load",
    "yaml.full_load": "may build objects; use yaml.safe_load",
    "os.system": "runs a shell; use subprocess.run with a list",
    "os.popen": "runs a shell; use subprocess.run with a list",
    "subprocess.getoutput": "runs a shell; use subprocess.run with a list",
    "subprocess.getstatusoutput": "runs a shell; use subprocess.run with a list",
    "eval": "evaluates text",
    "exec": "executes text",
}


def violations(tree: ast.Module) -> list[str]:
    """Return one line for each forbidden thing, with its line number."""
    return [f"line {line}: {fault}" for line, fault in sorted(_faults(tree))]


def _faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    origins = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _modules(node):
                if name.split(".")[0] in PICKLERS:
                    yield node.lineno, f"imports {name}, which runs code from what it reads"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, fault) for fault in _call_faults(node, origins))


def _call_faults(call: ast.Call, origins: dict[str, str]) -> Iterator[str]:
    head, *rest = ast.unparse(call.func).split(".")
    name = ".".join([origins.get(head, head), *rest])
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in CALLS:
        yield f"{name} {CALLS[name]}"
    if name in NUMPY_LOADERS and given.get("allow_pickle") != "False":
        yield f"{name} without allow_pickle=False"
    elif given.get("allow_pickle") == "True":
        yield f"{name} with allow_pickle=True"
    if "shell" in given and given["shell"] != "False":
        yield f"{name} through a shell; pass a list"


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: `from torch import load as x` is x: torch.load."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            origins |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return origins


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]
