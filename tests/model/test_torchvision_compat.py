"""torchvision imports in a fresh process, whatever torch it stands beside."""

import sys

from tests.support.process import completed


def run(code):
    return completed([sys.executable, "-W", "error", "-c", code])


def test_torchvision_and_transformers_import_after_it():
    """With the operators declared, torchvision and a BERT of transformers import without a warning."""
    result = run(
        "import model.torchvision_compat, torchvision\n"
        "from transformers import BertModel\n"
        "print(torchvision.models.resnet18().fc.out_features)"
    )
    assert (result.returncode, result.stdout) == (0, "1000\n"), result.stderr


def test_declaring_twice_is_harmless():
    """The declaration may be called again, before torchvision and after it."""
    result = run(
        "from model.torchvision_compat import declare_missing_operators as declare\n"
        "declare()\nimport torchvision\ndeclare()\nprint('fine')"
    )
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr
