"""The tests of the guard's verdicts, for mutants: mutmut chooses tests of one module by name.

The property tests are left out: they would run for every mutant and find nothing that the tables do not.
"""

from tests.preprocessing.thumbnails import test_addresses as addresses
from tests.preprocessing.thumbnails import test_urls as urls

# Not about verdicts but about error texts.
WORDS = ("test_a_refusal_names_the_address", "test_errors_hold_no_url")
globals().update(
    {
        name: test
        for module in (addresses, urls)
        for name, test in vars(module).items()
        if name.startswith("test_") and not hasattr(test, "hypothesis") and name not in WORDS
    }
)
