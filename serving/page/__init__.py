"""The page for browsers: static files, no build step, nothing from a third party."""

from pathlib import Path

PAGE = Path(__file__).parent
