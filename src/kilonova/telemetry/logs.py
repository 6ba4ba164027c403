"""How our processes write their logs: structlog, one line per event, to standard error."""

import logging
import sys

import structlog

from kilonova.config import LogConfig


def configure(config: LogConfig) -> None:
    """Set up logging for the process; libraries that use the standard module go the same way."""
    level = getattr(logging, config.level.upper())
    renderer = (
        structlog.processors.JSONRenderer()
        if config.json_lines
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
