"""torchvision imports in a fresh process, whichever torch is installed."""

import sys

from tests.support.process import completed

CODE = """
from model.torchvision_compat import declare_missing_operators as declare
declare()
import torchvision
from transformers import BertModel
declare()
print(torchvision.models.resnet18().fc.out_features)
"""


def test_torchvision_and_transformers_import_after_it() -> None:
    """Without a warning, with the operators declared once, twice and after torchvision."""
    done = completed([sys.executable, "-W", "error", "-c", CODE])
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr
