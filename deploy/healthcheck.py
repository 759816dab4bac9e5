"""The container's HEALTHCHECK: exits with 0 if the service is ready. Standard library only."""

import os
import sys
import urllib.request

PORT = os.environ.get("MILES_PORT") or "7860"

try:
    # HTTPError, which urllib raises for 503, is an OSError. Proxies must not be used for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"http://127.0.0.1:{PORT}/health/ready", timeout=4).close()
except OSError as exc:
    sys.exit(f"not ready: {exc}")
