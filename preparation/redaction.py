"""Secrets such as VoxCeleb's key, and their removal from messages and logs."""

import logging
import re
from urllib.parse import quote, quote_plus

_secrets: set[str] = set()


def register_secret(secret: str) -> None:
    """Replace a secret, however a URL spells it, in redacted texts and in urllib3's logs, which hold URLs."""
    import requests  # noqa: F401  (importing it creates urllib3's loggers)

    if secret:
        _secrets.update((secret, quote(secret), quote(secret, safe=""), quote_plus(secret)))
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("urllib3"):
            logging.getLogger(name).addFilter(redact_log_record)


def redact(text: str) -> str:
    """Text -> the same on one line, with each secret replaced by ***."""
    for secret in sorted(_secrets, key=len, reverse=True):  # a longer spelling may contain a shorter one
        text = text.replace(secret, "***")
    return " ".join(text.split())


def hosts_only(text: str) -> str:
    """Text of another program -> the same on one line, URLs cut to their hosts: the rest may be a secret."""
    url = r"([A-Za-z+]+://)(\S*?)(['\"),.;]*)(?=\s|$)"  # scheme, the rest, punctuation after it
    return re.sub(url, lambda match: match[1] + _host(match[2]) + match[3], " ".join(text.split()))


def _host(address: str) -> str:
    """URL without its scheme -> host and port; *** where a part of a password might look like the host."""
    authority, *rest = re.split("[/?#]", address, maxsplit=1)
    return "***" if "@" in "".join(rest) else authority.rpartition("@")[2]


def redact_log_record(record: logging.LogRecord) -> bool:
    """Logging filter: keeps every record, with its secrets removed."""
    record.msg = redact(record.getMessage())
    record.args = ()
    record.exc_info = None
    return True
