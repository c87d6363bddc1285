"""Command line and environment of a run, without passwords and other secrets."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

SECRET_NAME = re.compile(r"(?:^|[-_.])(?:api)?(?:key|token|secret|passw\w*|credentials?)$", re.IGNORECASE)
LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN = "(not shown)"


def redacted_command(run: Mapping[str, Any]) -> str:
    """Contents of run.json -> the command line without secrets, quoted for a shell."""
    command = run.get("command", "")
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    return LOGIN_IN_URL.sub(f"{HIDDEN}@", shlex.join(_without_secrets(words)))


def _without_secrets(words: Sequence[str]) -> list[str]:
    """Words of a command line -> the same with the values of secret options hidden."""
    shown = []
    hide_next = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_secret = SECRET_NAME.search(name) is not None
        if hide_next:
            shown.append(HIDDEN)
        elif is_secret and equals:
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(word)
        hide_next = is_secret and not equals and name.startswith("-")
    return shown


def redacted_record(run: Mapping[str, Any]) -> dict[str, Any]:
    """Contents of run.json -> texts by name, nested as there, without the command and secrets."""
    return {name: _redacted(name, value) for name, value in run.items() if name != "command"}


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _redacted(str(key), item) for key, item in value.items()}
    if SECRET_NAME.search(name) and value:
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return LOGIN_IN_URL.sub(f"{HIDDEN}@", text) or "-"
