from __future__ import annotations

import subprocess
import sys

import pytest

from detection.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_is_complete(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main([command, "--help"])
    assert exited.value.code == 0
    assert f"detect {command}" in capsys.readouterr().out


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--help"])
    assert exited.value.code == 0
    out = capsys.readouterr().out
    for command, (_, summary) in COMMANDS.items():
        assert command in out
        assert summary in out


@pytest.mark.parametrize("argv", [[], ["fly"], ["score", "--fly"]])
def test_misuse_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(argv)
    assert exited.value.code == 2
    assert "usage:" in capsys.readouterr().err


HIDE = "import sys; sys.modules[{name!r}] = None; from detection.__main__ import main; sys.exit(main({argv!r}))"


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [("train", "torch", "train"), ("evaluate", "matplotlib", "measure"), ("fuse", "sklearn", "measure")],
)
def test_missing_extra_is_named(command: str, missing: str, extra: str) -> None:
    argv = [command, *(["light", "heavy"] if command == "fuse" else []), "--data", "x.csv", "--out", "y"]
    code = HIDE.format(name=missing, argv=argv)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    told = f"callscreen detect {command}: needs the package {missing}: pip install 'callscreen[{extra}]'"
    assert done.stderr.splitlines() == [told]


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "fuse"])
def test_help_of_measuring_needs_no_extra(command: str) -> None:
    code = "import sys; sys.modules['matplotlib'] = sys.modules['sklearn'] = None\n"
    code += f"from detection.__main__ import main; main([{command!r}, '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--alerts-per-hour" in done.stdout or "--snr" in done.stdout


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_scored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "--data", "x.csv", "--out", f"{__file__}/out"]) == 2
    told = f"callscreen detect evaluate: --out: {__file__} is not a folder that can be written\n"
    assert capsys.readouterr().err == told


def test_other_missing_modules_are_not_blamed_on_the_extra() -> None:
    code = HIDE.format(name="rich.console", argv=["score", "x.wav"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr
    assert "callscreen[train]" not in done.stderr


def test_package_needs_neither_torch_nor_librosa() -> None:
    code = (
        "import sys, detection, detection.score; print(sorted({'torch', 'librosa', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("detection.__main__._run", interrupted)
    assert main(["score", "x.wav"]) == 130
