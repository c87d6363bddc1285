"""What a server's answers say, and texts about them that never hold the key."""

import logging
import re
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from requests import Response

LONGEST_WAIT_S = 60.0
_secrets: set[str] = set()


def never_show(key: str) -> None:
    """Have the key replaced in what this module says and in urllib3's logs, some of which hold addresses."""
    import requests  # noqa: F401  (its import makes the loggers)

    if key:
        _secrets.update((key, quote(key), quote(key, safe=""), quote_plus(key)))
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("urllib3"):
            logging.getLogger(name).addFilter(hide_in_log)


def hide(text: str) -> str:
    """Text -> the same in one line without keys; the longest spelling first, as it may hold another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def hide_in_log(record: logging.LogRecord) -> bool:
    """Log record -> kept, without keys."""
    record.msg, record.args, record.exc_info = hide(record.getMessage()), (), None
    return True


def reason(error: BaseException) -> str:
    """Error of a request -> the first of its causes, without the addresses in the others."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return "the connection broke off" if isinstance(error, IncompleteRead) else str(error) or repr(error)


def retry_after(value: str) -> float | None:
    """Header, seconds or a date -> seconds to wait, None if it doesn't say."""
    with suppress(ValueError, TypeError, OverflowError):
        if value.isdecimal():
            return min(float(value), LONGEST_WAIT_S)
        return min(max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0), LONGEST_WAIT_S)
    return None


def extent(response: "Response") -> tuple[int, int | None]:
    """Response -> first byte of the file that it holds, size of the whole; -1 and None if it doesn't say."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", ""))
    begin, total = found.groups() if found else (None, None)
    return int(begin or -1), int(total) if total else None


def version_of(response: "Response") -> str:
    """Response -> what If-Range may name: a strong ETag, else the date of the file."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
