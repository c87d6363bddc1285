"""What an exported file says about itself, as text: all that a voice needs besides the network."""

import base64
import json
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from inference.thresholds import Rule
from metrics.error_curve import ErrorCurve

KEY = "speakernet"  # of the metadata
FORMAT = "speakernet-export-1"
DTYPES = ("<f2", "<f4")  # of the cohort's vectors, as they are in the model


class Contents(NamedTuple):
    """How recordings are embedded and compared by the network in a file."""

    options: dict[str, Any]  # that decide it, as in options.flags and the plug-ins
    embedding_dim: int  # of what the network returns
    fingerprint: str
    rule: Rule
    is_norm_asked_for: bool
    cohort: NDArray[np.floating] | None  # (K, D) that scores are normalised by
    variant: str = ""  # of the numbers it computes with, "" for float32

    def to_text(self) -> str:
        """JSON, for from_text."""
        curve = self.rule.curve
        rule = self.rule._asdict() | {"curve": None if curve is None else curve._asdict()}
        values = self._asdict() | {"format": FORMAT, "rule": rule, "cohort": None}
        if self.cohort is not None:
            vectors = self.cohort.astype(self.cohort.dtype.newbyteorder("<"))
            data = base64.b64encode(vectors.tobytes()).decode()
            values["cohort"] = {"dtype": vectors.dtype.str, "shape": vectors.shape, "data": data}
        return json.dumps(values)

    @classmethod
    def from_text(cls, text: str, source: str) -> Self:
        """What to_text returned -> contents; raises ValueError with the file's path if it is damaged."""
        try:
            values = json.loads(text)
            kind = values.pop("format")
            if kind == FORMAT:
                return cls(**values | {"rule": _rule(values["rule"]), "cohort": _vectors(values["cohort"])})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{source}: its metadata is damaged ({error}); export it again") from None
        raise ValueError(f"{source}: expected the format {FORMAT}, got {kind}; export it again")


def _rule(stored: dict[str, Any]) -> Rule:
    """Stored rule -> the same with tuples; files of earlier versions have no curve."""
    calibration, curve = stored["calibration"], stored.get("curve")
    changes = {
        "calibration": None if calibration is None else tuple(calibration),
        "curve": None if curve is None else ErrorCurve.from_dict(curve),
    }
    return Rule(**stored | changes)


def _vectors(stored: dict[str, Any] | None) -> NDArray[np.floating] | None:
    """Stored cohort -> its vectors (K, D)."""
    if stored is None:
        return None
    if stored["dtype"] not in DTYPES:
        raise KeyError(f"a cohort of {stored['dtype']}")
    return np.frombuffer(base64.b64decode(stored["data"]), stored["dtype"]).reshape(stored["shape"])
