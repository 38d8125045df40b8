"""Settings of the audio evidence.  [S]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PublicKey = Annotated[str, Field(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]
Seconds = Annotated[float, Field(ge=0.0, le=30.0)]
EXAMPLE_KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
"""From age's documentation."""


class EvidenceSettings(BaseModel):
    """What is stored, with which keys, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(
        description="folder for the encrypted files; made with mode 0700 where it is missing",
        examples=["/var/lib/callscreen/evidence"],
    )
    public_keys: tuple[PublicKey, ...] = Field(
        min_length=1,
        description="age public keys; each file can be opened with the private key of any of them, and not by the "
        "gateway; `callscreen evidence keygen` makes a pair",
        examples=[[EXAMPLE_KEY]],
    )
    before_s: Seconds = Field(5.0, description="seconds stored before the position at which an alert was raised")
    after_s: Seconds = Field(5.0, description="seconds stored after that position")
    max_days: Annotated[float, Field(gt=0.0, le=36_500.0)] = Field(
        30.0, description="days that a file is kept; it is deleted within an hour after that"
    )
    max_bytes: Annotated[int, Field(ge=1)] = Field(
        1_000_000_000, description="bytes of all files together; what would exceed them is not stored"
    )

    @model_validator(mode="after")
    def _has_duration(self) -> Self:
        if not self.before_s + self.after_s:
            raise ValueError("before_s, after_s: expected at least one of them to be more than 0")
        return self
