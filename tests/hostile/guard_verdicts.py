"""The tests of the guard's verdicts, for mutants: mutmut chooses tests of one module by name.

The property tests are left out: they would run for every mutant and find nothing that the tables do not.
"""

from tests.preprocessing.thumbnails.test_addresses import (
    test_blocks_are_refused_to_their_edges,
    test_ports_other_than_80_and_443_need_trust,
    test_trusted_networks_are_exempt,
)
from tests.preprocessing.thumbnails.test_urls import (
    test_a_proxy_needs_an_allow_list,
    test_a_repair_that_may_surprise_is_noted,
    test_a_vetted_url_passes_unchanged,
    test_allowed_hosts,
    test_an_unreachable_host_has_a_reason_and_a_time,
    test_bad_urls_are_refused,
    test_forbidden_urls_are_refused,
    test_headers_are_added_by_host,
    test_plain_urls_pass,
    test_redirects_are_resolved,
    test_redirects_are_vetted,
    test_refused_hosts,
    test_the_host_header_keeps_port_and_brackets,
    test_the_services_own_host_is_refused,
    test_trusted_networks_open_ports_and_local_names,
    test_unusable_policies_are_refused,
)

__all__ = [
    "test_a_proxy_needs_an_allow_list",
    "test_a_repair_that_may_surprise_is_noted",
    "test_a_vetted_url_passes_unchanged",
    "test_allowed_hosts",
    "test_an_unreachable_host_has_a_reason_and_a_time",
    "test_bad_urls_are_refused",
    "test_blocks_are_refused_to_their_edges",
    "test_forbidden_urls_are_refused",
    "test_headers_are_added_by_host",
    "test_plain_urls_pass",
    "test_ports_other_than_80_and_443_need_trust",
    "test_redirects_are_resolved",
    "test_redirects_are_vetted",
    "test_refused_hosts",
    "test_the_host_header_keeps_port_and_brackets",
    "test_the_services_own_host_is_refused",
    "test_trusted_networks_are_exempt",
    "test_trusted_networks_open_ports_and_local_names",
    "test_unusable_policies_are_refused",
]
