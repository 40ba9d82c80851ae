"""A module that ends the process that imports it, as a user's own may."""

import sys

sys.exit(3)
