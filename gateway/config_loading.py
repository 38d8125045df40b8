"""Reads the settings: command line over environment (``CALLSCREEN_…``) over a TOML file over the defaults.  [IO]

An unknown key is an error, in the file and in the environment: a misspelt limit must not be ignored silently.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsError

from gateway.config import ENV_PREFIX, Settings
from gateway.errors import ConfigError
from gateway.toml import read_toml

PRIVATE = ("token", "key", "secret", "password")
"""A setting whose name contains one of these is a secret: error messages leave its value out."""
REPLACED = {
    "verifier_p": "the scores of both models are fused now; set `alert_p` or `alerts_per_hour`",
    "verifier_legs_per_minute": "set `verifier_cpu_share`, the share of a core that the verifier may take",
}
"""Removed settings, and their replacements."""


def load(file: Path | None = None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read the settings.

    Args:
        file: a TOML file with any of the fields of `Settings` at top level.
        environ: searched for unknown ``CALLSCREEN_…`` names only; values come from the process's own environment.
        overrides: from the command line; they have precedence. None: not given.

    Raises:
        ConfigError: an unknown key or a wrong value. It names the key, the expected value and the value, unless secret.
    """
    unknown = sorted(
        name
        for name in environ
        if name.startswith(ENV_PREFIX) and name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields
    )
    if unknown:
        raise ConfigError(_unknown_setting(unknown[0], unknown[0].removeprefix(ENV_PREFIX).lower()))
    values = _read(file) if file else {}

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values)

    try:
        return FromFile(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except (SettingsError, RecursionError) as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = ENV_PREFIX + field[1].upper() if field else "environment"
        raise ConfigError(f"{name}: expected JSON of the form that the setting has in a file") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {file}: {error.strerror}; expected a TOML file with settings") from None
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or an integer with too many digits
        raise ConfigError(f"{file}: not TOML: {error}") from None


def _unknown_setting(shown: str, setting: str) -> str:
    if setting in REPLACED:
        return f"{shown}: this setting was removed: {REPLACED[setting]}"
    return f"{shown}: there is no such setting (see `callscreen serve --help`)"


def _explain(error: ValidationError) -> str:
    """Return one line per error: key, message and value, except the value of a secret."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        key, wrong = ".".join(str(part) for part in fault["loc"]), fault["msg"].removeprefix("Value error, ")
        wrong = wrong.replace("Input should be ", "expected ", 1)
        if fault["type"] == "extra_forbidden":
            lines.append(_unknown_setting(key, key))
        elif not key:
            lines.append(wrong)
        else:
            private = isinstance(fault["input"], dict) or any(word in key for word in PRIVATE) or ", got " in wrong
            lines.append(f"{key}: {wrong}" + ("" if private else f", got {fault['input']!r}"))
    return "\n".join(lines)
