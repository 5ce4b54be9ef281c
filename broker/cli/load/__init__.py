"""The load generator behind `floe bench` and tests/bench: cheaper than any broker it measures.

Requests are encoded before the clock starts and sent from one ring of bytes; a response is looked at only
at the fixed places of its length, correlation id and error code; sockets are non-blocking and driven by
epoll from one thread. What is left is a few microseconds of Python for each turn of the loop, however many
responses it brings.
"""
