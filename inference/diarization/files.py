"""Files of who spoke when: RTTM (NIST Rich Transcription Time Marked) and JSON."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.diarization.diarizer import Diarization
from metrics.fields import shown
from storage.files import write_text


def write(diarization: Diarization, path: Path) -> None:
    """Write who spoke when whole or not at all, in the format that the suffix names.

    Raises:
        ValueError: another suffix, or names that RTTM can't tell apart.
        OSError: the file can't be written.
    """
    require_suffix(path)
    write_text(path, WRITERS[path.suffix.lower()](diarization))


def require_suffix(path: Path) -> None:
    """Raises ValueError unless the suffix names a format."""
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(WRITERS)}")


def rttm(diarization: Diarization) -> str:
    """Who spoke when -> a line for each turn; blanks in names become underscores, as they separate fields."""
    names = {speaker.name: _field(speaker.name) for speaker in diarization.speakers}
    if len({*names.values()}) < len(names):
        raise ValueError(f"RTTM can't tell {', '.join(sorted(names))} apart; write .json")
    recording = _field(Path(diarization.name).stem)
    return "".join(
        f"SPEAKER {recording} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f} <NA> <NA> "
        f"{names[turn.speaker]} <NA> <NA>\n"
        for turn in diarization.turns
    )


def values_of(diarization: Diarization) -> dict[str, Any]:
    """Who spoke when -> plain values for JSON."""
    values = diarization._asdict()
    values["file"] = values.pop("name")
    for name in ("turns", "overlaps", "speakers"):
        values[name] = [each._asdict() for each in values[name]]
    return _rounded(values)


def _rounded(value: Any) -> Any:
    """Plain values -> the same with numbers to the millisecond."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def _json(diarization: Diarization) -> str:
    return json.dumps(values_of(diarization), indent=1) + "\n"


def _field(name: str) -> str:
    return re.sub(r"\s", "_", shown(name)) or "_"


WRITERS: dict[str, Callable[[Diarization], str]] = {".rttm": rttm, ".json": _json}
