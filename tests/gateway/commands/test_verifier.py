from __future__ import annotations

from pathlib import Path

import pytest

from gateway.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nats: expected the server with the jobs; give --nats URL, or set `nats`"),
        (["--nats", "http://h:1"], "nats: url: expected nats://HOST:PORT or tls://HOST:PORT"),
        (["--nats", "nats://h:1", "--model", "nothing"], "verifier: expected a path to an .onnx file or one of"),
        (["--nats", "nats://h:1", "--model", "off"], "verifier: expected a model's name or path, got 'off'"),
        (["--nats", "nats://h:1", "--config", "nowhere.toml"], "nowhere.toml: No such file"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verifier", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_url_on_the_command_line_goes_with_the_credentials_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "callscreen.toml"
    file.write_text('nats = {url = "nats://a:1", user = "me"}\n')
    assert main(["verifier", "--config", str(file), "--nats", "nats://b:1"]) == 2
    assert "nats: user, password: expected both or neither" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "65", "-1", "many"])
def test_threads_are_a_sensible_number(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["verifier", "--nats", "nats://h:1", "--threads", threads])
    assert refused.value.code == 2
    assert f"argument --threads: expected 1 to 64, got '{threads}'" in capsys.readouterr().err
