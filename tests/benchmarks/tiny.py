"""Every case at a size small enough for a test."""

from benchmarks.cases import Case

IMAGE = (1, 8, 8)
CONV = {"written_units": 2, "channels": [3], "inner": 3, "width": 4, "hops": 1, "head": 5}
STEPS = {"episodes": 2, "items": 3, "write_steps": 2, "read_steps": 2}
TINY = {
    "mlp": Case("mlp", {"hidden": 8}, (12,), **STEPS),
    "gated_rnn": Case("gated_rnn", {"hidden": 7, "written_units": 3, "hops": 2}, (6,), **STEPS),
    "resnet_conv": Case("resnet_conv", CONV, IMAGE, **STEPS, rate=1.0, gradient_rate=0.1),
}
