"""Base of the models whose JSON is read strictly: model cards and fusion files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from detection.errors import ModelError


class Strict(BaseModel):
    """Immutable; refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Read = TypeVar("_Read", bound=Strict)


def read_strictly(kind: type[_Read], file: Path) -> _Read:
    """Read a JSON file.

    Raises:
        ModelError: it cannot be read, or a field is missing, unknown or wrong; names the first such field.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or kind.__name__.lower()
        raise ModelError(f"{file}: {field}: {first['msg']}") from error
