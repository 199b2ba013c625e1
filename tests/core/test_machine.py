"""Threads of libraries."""

import threadpoolctl

from lcaudit.core.machine import single_products


def threads() -> list[int]:
    return [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["internal_api"] == "openblas"]


def test_numpys_threads_are_one_inside_and_as_before_afterwards() -> None:
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        with single_products():
            assert set(threads()) <= {1}
        assert threads() == before
