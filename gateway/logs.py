"""structlog, configured once: readable lines on a terminal, one JSON object per line elsewhere.

The message is constant; variable facts go into fields. Bound fields (`call_id`, `leg`, `source`) are added to each
line. Values of fields named like a secret or a phone number are replaced; elsewhere a number keeps its last digits.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
AUDIT = "gateway.audit"
"""The logger of who had access to what: its lines are written at every `log_level`."""
_NUMBER = re.compile(r"(?<![\w.])\+?\d{7,15}(?![\w.])")
_SENSITIVE = (
    "token",
    "secret",
    "signature",
    "authorization",
    "password",
    "phone",
    "from_number",
    "to_number",
    "payload",
)


_QUOTING = ("error", "path", "reason")
"""Fields that may quote a peer."""
_NAMES = ("call_id", "leg")
"""Some peers use the caller's number as the call's id."""
LAST_DIGITS = 3


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of sensitive fields, and shorten numbers in fields that quote a peer."""
    for key in event:
        if any(word in key.lower() for word in _SENSITIVE):
            event[key] = REDACTED
    for key in _QUOTING:
        if isinstance(text := event.get(key), str):
            event[key] = _NUMBER.sub(_shortened, text)
    for key in _NAMES:
        if isinstance(name := event.get(key), str) and (number := _NUMBER.fullmatch(name)):
            event[key] = _shortened(number)
    return event


def _shortened(number: re.Match[str]) -> str:
    return REDACTED + number[0][-LAST_DIGITS:]


def configure(level: str, log_format: str) -> None:
    """Configure structlog, and route the standard library's loggers (uvicorn, aiortc) through it.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        log_format: ``console``, ``json`` or ``auto`` (console if standard error is a terminal).
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    # The console renderer's default for exceptions shows local variables, which may hold tokens.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Processor = pretty if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if console else [structlog.processors.format_exc_info]),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    # Libraries that log a line per packet or connection.
    for name in ("aioice", "aiortc", "libav", "websockets", "httpx", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(
        logging.ERROR
    )  # its warnings are what strangers send: ours to count and limit


def get(name: str) -> Any:
    """Return the logger of a module."""
    return structlog.stdlib.get_logger(name)
