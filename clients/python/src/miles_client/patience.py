"""How long a command waits for the service, all in all."""

import time
from collections.abc import Sequence

from miles_client.service import Unavailable
from miles_client.settings import WAITS_S


class Patience:
    """Waits between retries: 5, 15, 30, 60, 60, ... s, or what Retry-After asks for."""

    def __init__(self, total_s: float, waits_s: Sequence[float] = WAITS_S) -> None:
        self.total_s, self.waits_s = total_s, waits_s
        self.reset()

    def reset(self) -> None:
        """Start over: the service answered."""
        self._tries, self._since = 0, time.monotonic()

    def wait_s(self, trouble: Unavailable) -> float:
        """Seconds until the next try; raises `trouble` when the total would exceed the limit."""
        if self._tries == 0:
            self._since = time.monotonic()
        planned = self.waits_s[min(self._tries, len(self.waits_s) - 1)]
        wait = planned if not trouble.retry_after_s else max(trouble.retry_after_s, min(1.0, planned))
        self._tries += 1
        if time.monotonic() - self._since + wait > self.total_s:
            raise trouble
        return wait
