"""Reading the fenced blocks of a page."""

from __future__ import annotations

from pathlib import Path

from tests.house.doc_blocks import (
    Block,
    blocks,
    console_commands,
    needs_server,
    python_script,
    run_python,
)

PAGE = """# A page

```python
x = 1
```

Some text with `code`.

- in a list:

  ~~~python
  if x:
      y = x + 1
  ~~~

```console
$ torchkeep up --json | jq . > out.txt  # comes up
{"rest": "..."}
$ make test && torchkeep down
$ torchkeep train \\
    --recipe "mnist quick"
```

````text
```python
not a block
```
````
"""


def test_blocks_know_their_language_text_and_line() -> None:
    assert blocks(PAGE)[:2] == [
        Block("python", "x = 1", 4),
        Block("python", "if x:\n    y = x + 1", 12),
    ]
    assert [block.language for block in blocks(PAGE)] == ["python", "python", "console", "text"]


def test_the_script_keeps_the_pages_line_numbers() -> None:
    lines = python_script(PAGE).splitlines()
    assert lines[3] == "x = 1"
    assert lines[11:] == ["if x:", "    y = x + 1"]
    assert python_script("no blocks") == ""


def test_console_commands_are_split_as_a_shell_would() -> None:
    assert console_commands(PAGE) == [
        ["torchkeep", "up", "--json"],
        ["jq", "."],
        ["make", "test"],
        ["torchkeep", "down"],
        ["torchkeep", "train", "--recipe", "mnist quick"],
    ]


def test_a_page_needs_a_server_if_its_python_asks_for_the_address() -> None:
    assert needs_server("```python\nClient(os.environ['TORCHKEEP_URL'])\n```")
    assert not needs_server("Set TORCHKEEP_URL.\n```python\nx = 1\n```")


def test_blocks_share_one_namespace_and_errors_name_the_pages_line(tmp_path: Path) -> None:
    page = tmp_path / "how-to.md"
    page.write_text(PAGE + "```python\nassert y == 2, y\nprint(y, here)\n```\n")
    result = run_python(page, tmp_path)
    assert result.returncode == 1
    assert f"line {PAGE.count(chr(10)) + 3}" in result.stderr
    assert "NameError: name 'here'" in result.stderr
