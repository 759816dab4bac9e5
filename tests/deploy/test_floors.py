"""The lowest versions that we may ever pin, each with the reason that an older one must not come back."""

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.house import ROOT
from tests.support.requirements import pins

FLOORS = {
    "torch": ("2.10.0", "CVE-2026-24747: a crafted checkpoint corrupts memory despite weights_only=True"),
    "pillow": ("13.0.0", "GHSA-5x8w-8jj5-q52h: a crafted JPEG overflows a buffer of the decoder"),
    "starlette": ("0.49.1", "CVE-2025-62727: a Range header costs quadratic time in FileResponse"),
    "h11": ("0.16.0", "CVE-2025-43859: a lenient chunked parser lets requests be smuggled"),
    "urllib3": ("2.6.3", "CVE-2026-21441: a redirect's compressed body is unpacked without a limit"),
    "requests": ("2.32.4", "CVE-2024-47081: .netrc credentials are sent to a host of the URL's choosing"),
    "certifi": ("2024.7.4", "CVE-2024-39689: roots of a distrusted authority"),
    "idna": ("3.7", "CVE-2024-3651: a long name costs quadratic time"),
    "jinja2": ("3.1.6", "CVE-2025-27516: a template leaves the sandbox"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a package index writes outside of its folder"),
    "filelock": ("3.20.1", "CVE-2025-68146: a symbolic link in the lock's place truncates another file"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206: a vectorizer keeps words of the training data"),
    "tqdm": ("4.66.3", "CVE-2024-34062: options on the command line are evaluated"),
    "transformers": ("4.53.0", "CVE-2025-6051 and its like: patterns that take exponential time"),
}


def pinned() -> dict[str, Version]:
    """Package to version, as requirements/constraints.txt has it."""
    rows = [Requirement(pin) for pin in pins(ROOT / "requirements/constraints.txt")]
    return {canonicalize_name(row.name): Version(str(row.specifier).removeprefix("==")) for row in rows}


@pytest.mark.parametrize("name", FLOORS)
def test_no_pin_is_below_its_floor(name: str) -> None:
    """What was mended stays mended."""
    floor, reason = FLOORS[name]
    assert pinned()[name] >= Version(floor), f"{name} below {floor}: {reason}"
