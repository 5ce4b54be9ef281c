"""For the clients' programs in Python (3.6 and newer): run checks one after the other, report each as a JSON line."""

import contextlib
import json
import os
import sys
import time
import traceback

BOOTSTRAP = os.environ.get("FLOE_BOOTSTRAP", "")


class NotRun(Exception):
    """This version of the client has no such feature."""


class Features:
    """A list of named checks. A check fails by any exception, and is left out by NotRun."""

    def __init__(self):
        self._checks = []

    def check(self, feature):
        """Register a function as the check of a feature."""

        def register(function):
            self._checks.append((feature, function))
            return function

        return register

    def run(self):
        """Run every check, whatever became of those before it."""
        for feature, function in self._checks:
            started = time.monotonic()
            try:
                function()
                result, reason = "pass", ""
            except NotRun as absent:
                result, reason = "not_run", str(absent)
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                result, reason = "fail", f"{type(error).__name__}: {error}"
            report(feature, result, reason)
            sys.stderr.write(f"{feature} took {time.monotonic() - started:.1f} s\n")


def report(feature, result, reason=""):
    """Print one feature's result."""
    print(json.dumps({"feature": feature, "result": result, "reason": reason}), flush=True)


def equal(actual, expected, what="value"):
    """Assert that two values are the same, and say shortly how they differ."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {_short(expected)}, got {_short(actual)}")


def _short(value):
    text = repr(value)
    return text if len(text) < 150 else text[:150] + "…"


def until(condition, limit_s=30.0, what="condition"):
    """Poll until `condition()` is true, and return what it returned."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not become true in {limit_s} s")
        time.sleep(0.05)


@contextlib.contextmanager
def closing_all(*resources):
    """Close every resource at the end, also after a failure."""
    try:
        yield
    finally:
        for resource in resources:
            with contextlib.suppress(Exception):
                resource.close()
