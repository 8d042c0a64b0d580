"""The command line through its own entry point."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import forgetctl
from forgetctl.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(cli.commands)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forgetctl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def output(*arguments: str) -> str:
    """What a command prints, run in this process."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_help_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\nfrom forgetctl.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "loaded = {'torch', 'transformers', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_installed_script_is_this_command_line() -> None:
    script = Path(sys.executable).with_name("forgetctl")
    if not script.exists():
        pytest.skip("forgetctl is not installed in this environment")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"forgetctl, version {forgetctl.__version__}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    assert command.help.splitlines()[0].endswith(".")
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert undocumented == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    script = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['forgetctl']; from forgetctl.cli.main import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_FORGETCTL_COMPLETE": f"{shell}_source"},
    )
    assert script.returncode == 0, script.stderr
    assert "forgetctl" in script.stdout
    assert "COMP_WORDS" in script.stdout


def test_methods_as_json_name_formula_and_paper() -> None:
    found = json.loads(output("methods", "--json"))
    assert {"ga", "ga-rt", "npo", "npo-rt"} <= {method["name"] for method in found["methods"]}
    assert all(term["formula"] for term in found["terms"])
    assert all("20" in term["source"] or term["source"].startswith("forgetctl, ") for term in found["terms"])


def test_recipes_as_json_are_complete() -> None:
    found = json.loads(output("recipes", "--json"))
    assert found["npo-rt"]["learning_rate"] == 1e-5
    assert all(recipe["description"] and recipe["source"] for recipe in found.values())


@pytest.mark.parametrize("arguments", [("methods",), ("recipes",), ("verify", "nowhere")])
def test_no_control_codes_where_output_is_no_terminal(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr


def test_no_color_is_respected_on_a_terminal() -> None:
    import pty

    def shown(**environment: str) -> bytes:
        main, other = pty.openpty()
        done = subprocess.Popen(
            [sys.executable, "-m", "forgetctl", "methods"],
            stdout=other,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(other)
        text = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
        assert done.wait() == 0
        return text

    colour = re.compile(rb"\x1b\[(?:\d+;)*3\d")
    assert b"\x1b[1m" in shown(NO_COLOR="")
    assert not colour.search(shown(NO_COLOR="1"))


def test_wrong_use_is_exit_two_and_one_line() -> None:
    for arguments in (
        ("unlearn",),
        ("unlearn", "--resume", "runs/none"),
        ("verify", "x", "--model", "y"),
        ("nonsense",),
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("Error: ")


def test_version_is_the_changelog_s() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, flags=re.MULTILINE)
    assert versions[0] == forgetctl.__version__


def test_public_names_import() -> None:
    for name in forgetctl.__all__:
        assert getattr(forgetctl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        forgetctl.magic  # noqa: B018
