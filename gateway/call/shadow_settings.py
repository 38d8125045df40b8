"""Settings of the shadow: a candidate model or policy.  [S]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ShadowSettings(BaseModel):
    """A candidate model, a candidate policy, or both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="candidate for the light model, a name or path; it decides alone, without the verifier",
        examples=["tinystatnet"],
    )
    policy: Path | None = Field(
        None, description="candidate for the policy file; read again when it changes", examples=["candidate.toml"]
    )
    cpu_share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = Field(
        0.25, description="CPU time for the candidate model, as a share of one core; windows beyond it are not scored"
    )

    @model_validator(mode="after")
    def _has_candidate(self) -> Self:
        if self.model is None and self.policy is None:
            raise ValueError("expected at least one of model and policy")
        return self
