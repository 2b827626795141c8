"""A whole config: its keys, which agree with each other."""

from __future__ import annotations

from pydantic import model_validator

from raat_sweep.config.checks import check_agreement
from raat_sweep.config.fields import ConfigFields


class Config(ConfigFields):
    """A whole config file."""

    @model_validator(mode="after")
    def _check_agreement(self) -> Config:
        check_agreement(self)
        return self
