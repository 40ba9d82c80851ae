"""What holds for all tests, in each process of pytest."""

import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and all processes that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
