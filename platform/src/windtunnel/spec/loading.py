"""lifecycle.yaml → Lifecycle, with errors that name the line. (positions and code checks: see positions, code)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from windtunnel.errors import SpecError
from windtunnel.spec.lifecycle import Lifecycle

if TYPE_CHECKING:
    from pathlib import Path


def load_lifecycle(directory: Path) -> Lifecycle:
    path = directory / "lifecycle.yaml"
    try:
        value: Any = yaml.load(path.read_text(), yaml.CSafeLoader)
        return Lifecycle.model_validate(value)
    except FileNotFoundError as error:
        raise SpecError("there is no lifecycle.yaml", where=str(directory)) from error
    except ValidationError as error:
        raise SpecError(str(error), where=str(path)) from error
