"""Stands in for `lightning-ebm train`: logs val/error = x at once or, with pause=S, a validation every S seconds."""

import sys
import time
from pathlib import Path

words = dict(word.split("=") for word in sys.argv[1:])
folder = Path(words["output"])
if words["x"] == "broken":
    print("error: x is broken")
    sys.exit(1)
with (folder / "starts").open("a") as file:
    file.write("start\n")
metrics = folder / "fake-00" / "metrics" / "version_0"
metrics.mkdir(parents=True, exist_ok=True)
with (metrics / "metrics.csv").open("w") as file:
    print("step,train/seconds,val/error", file=file)
    for step in range(int(words.get("validations", 3))):
        print(f"{step},{step + 1}.5,{float(words['x']) + 1 / (step + 1)}", file=file, flush=True)
        time.sleep(float(words.get("pause", 0)))
