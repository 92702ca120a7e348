"""Limits that the system sets to a process."""

from __future__ import annotations


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: every map of a bank is one."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    # The limit must be a number: macOS refuses an infinite one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
