"""No pickle, no shell and no evaluated text anywhere in the project, its tests included."""

from __future__ import annotations

import ast

import pytest

from tests.house.forbidden import violations
from tests.house.source_files import parse, python_files, shipped_files


def test_no_file_does_anything_forbidden() -> None:
    files = [*shipped_files(), *python_files("tests")]
    assert [f"{path}: {fault}" for path in files for fault in violations(parse(path))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle as safe",
        "from joblib import load",
        "def late():\n    import shelve",
        "import xml, marshal",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import save\nsave({}, 'x')",
        "from torch import load as fetch\nfetch('x')",
        "import torch as t\nt.load('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "from numpy import load\nload('x')",
        "import numpy as np\nnp.save('x', [], allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=flag)",
        "import os\nos.system('ls')",
        "import yaml\nyaml.load('x', Loader=yaml.Loader)",
        "import pandas as pd\npd.read_pickle('x')",
        "eval('1')",
        "exec('1')",
    ],
)
def test_a_planted_violation_is_found(source: str) -> None:
    assert len(violations(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import torch\nmodel = torch.nn.Identity()\nmodel.eval()",
        "import yaml\nyaml.safe_load('x')",
        "import subprocess\nsubprocess.run(['ls'], check=True)",
        "from safetensors.torch import load_file, save_file\nsave_file({}, 'x')",
        "import json\njson.load(open('x'))",
    ],
)
def test_what_may_be_is_left_alone(source: str) -> None:
    assert violations(ast.parse(source)) == []
