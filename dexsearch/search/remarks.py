"""What training warns of in a worker, on its way to the person at the driver."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_TRAINING = "dexsearch.training"
_MOST = 20


@contextmanager
def remarks_of_training() -> Iterator[list[str]]:
    """Yield a list that gets each warning that training logs meanwhile, the first twenty."""
    remarks: list[str] = []
    handler = _Collector(remarks)
    logger = logging.getLogger(_TRAINING)
    logger.addHandler(handler)
    try:
        yield remarks
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    """Appends messages to a list."""

    def __init__(self, remarks: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._remarks = remarks

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message."""
        if len(self._remarks) < _MOST:
            self._remarks.append(record.getMessage())
