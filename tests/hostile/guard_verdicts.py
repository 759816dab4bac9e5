"""Every verdict of the guard, asked in a handful of plain tests; what kills mutants of it.

The rows and the assertions are those of tests/preprocessing. There each row is a test of its own, named after
its URL; mutmut chooses tests by name, and a name with `::` in it finds none, which would count as a kill.
"""

from preprocessing.thumbnails.policy import BadUrlError as Bad
from preprocessing.thumbnails.policy import ThumbnailTooLargeError as Large
from tests.preprocessing.thumbnails import test_addresses as addresses
from tests.preprocessing.thumbnails import test_urls as urls
from tests.preprocessing.thumbnails.address_rows import ROWS
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN


def test_addresses() -> None:
    """Every row has its verdict, and trust and ports have theirs."""
    for address, public in ROWS:
        addresses.test_rows(address, public)
    addresses.test_trusted_networks_are_exempt()
    for port in (80, 443):
        addresses.test_web_ports_are_open_everywhere(port)
    for port in (1, 22, 79, 81, 442, 444, 7860, 65535):
        addresses.test_other_ports_need_trust(port)


def test_urls() -> None:
    """Every URL passes as it should, or is refused for its reason."""
    for row in urls.PASSING:
        urls.test_plain_urls_pass(*row)
        urls.test_what_passed_passes_again(row[0])
    for url in BAD:
        urls.test_bad_urls_are_refused(url, urls.OPEN)
        urls.test_bad_urls_are_refused(url, urls.LOOPBACK)
    for url in FORBIDDEN:
        urls.test_forbidden_urls_are_refused(url)
    urls.test_trusted_networks_open_ports_and_local_names()
    urls.test_refused_hosts()
    urls.test_the_host_header_keeps_port_and_brackets()


def test_redirects() -> None:
    """Every Location leads where it should, or nowhere."""
    for location, target in urls.REDIRECTS:
        urls.test_redirects_are_resolved(location, target)
    for location in urls.REFUSED_REDIRECTS:
        urls.test_redirects_are_vetted(location)


def test_data_urls() -> None:
    """A `data:` URL is told from others, and its image taken up to the cap."""
    for head in ("data:image/png;base64,", "DATA:IMAGE/JPEG;BASE64,", "data:image/a0.b-c+5;base64,"):
        urls.test_data_urls_are_decoded(head)
    urls.test_data_urls_are_told_from_others()
    for url in urls.BAD_DATA:
        urls.test_other_data_urls_are_bad(url)
    for row in ((136, 99, Large), (136, 100, Bad), (139, 100, Bad), (140, 100, Large)):
        urls.test_what_is_too_long_is_not_decoded(*row)
    for size in range(1, 10):
        urls.test_data_urls_are_taken_up_to_the_cap(size)
