"""What the README shows works: its Python block runs, its commands name real verbs and files."""

import re
import subprocess
from pathlib import Path

import torch

from lightning_ebm.cli import VERBS
from lightning_ebm.config import parse_overrides, resolve
from lightning_ebm.signals import REQUEUE, STOP_SIGNALS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_notebook_lines_run_as_they_stand():
    (code,) = blocks("python")
    assert sum(bool(line.strip()) for line in code.splitlines() if "import" not in line) <= 6
    names: dict = {}
    torch.manual_seed(0)
    exec(code, names)
    assert sum(tensor[0].numel() for tensor in names["state"].values()) == 8256
    assert names["recalled"].shape == names["patterns"].shape
    wrong = [(names[tensor].round() != names["patterns"]).sum(-1).float().mean() for tensor in ("queries", "recalled")]
    assert wrong[0] > 28
    assert wrong[1] < 0.5
    assert names["energies"].shape == (2, 16)
    assert names["energies"].max() < names["memory"].energy(names["state"], torch.rand(2, 16, 128).round()).min()


def test_commands_name_verbs_and_files_that_exist():
    commands = re.findall(r"lightning-ebm +(\w+) +(\S+\.yaml)", README)
    assert len(commands) >= 5
    for verb, config in commands:
        assert verb in {*VERBS, "sweep"}
        assert (ROOT / config).is_file()


def test_links_lead_somewhere():
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/README.md")]
    assert len(found) > 6
    for page in found:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_batch_script_is_bash_and_sets_keys_that_exist():
    script = ROOT / "docs" / "slurm.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert f'"$code" -eq {REQUEUE}' in text
    words = [word.rstrip("\\") for word in text.split() if re.match(r"[a-z_]+[.a-z_]*=[^$]", word)]
    assert resolve(parse_overrides([word for word in words if word.startswith("trainer.")])).trainer.num_nodes == 2
    sbatch = dict(re.findall(r"#SBATCH --([a-z-]+)=(\S+)", text))
    assert sbatch["signal"].split("@")[0] in {number.name.removeprefix("SIG") for number in STOP_SIGNALS}
    assert f"trainer.devices={sbatch['ntasks-per-node']} trainer.num_nodes={sbatch['nodes']}" in text
