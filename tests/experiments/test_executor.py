"""The executor: which GPUs a job gets, how one that dies or hangs is named, and what reaches it from outside."""

import os
import signal
import sys
import threading
import time

import pytest
import torch

from lightning_ebm.config import ConfigError
from lightning_ebm.experiments import executor
from lightning_ebm.experiments.executor import Job, Local, Running, Slurm, run_jobs
from lightning_ebm.signals import Stopped, stops_on_signal


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(executor, "PAUSE", 0.02)


def python(folder, code, name="job", **more):
    return Job(name, (sys.executable, "-S", "-c", code), folder / name, **more)


def run(jobs, where=None):
    """Runs jobs; returns the error of each, by name."""
    errors = {}

    def ended(one, error):
        errors[one.job.name] = error
        return "done"

    run_jobs(where or Local(len(jobs)), iter(jobs), len(jobs), ended)
    return errors


def shown(monkeypatch, value, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)


MIG = "MIG-4f6b8f0a-1d6a-5f3c-8d0b-6a2f0c9e7b11"


@pytest.mark.parametrize(
    ("value", "count", "devices", "expected"),
    [
        (None, 2, (1, 1), ["0", "1"]),
        ("2,3", 2, (1, 1), ["2", "3"]),
        (f"GPU-8932f937, {MIG}", 2, (1, 1), ["GPU-8932f937", MIG]),
        ("5,6,7", 3, (1, 1, 1, 1), ["5", "6", "7", "5"]),  # more jobs than GPUs share them
        ("4,5,6,7", 4, (2, 1, 1), ["4,5", "6", "7"]),  # two processes of one training share no GPU with others
        ("2,-1,3", 1, (1,), ["2"]),  # CUDA stops at the first name that it does not know
        ("2,3", 2, (0,), ["2,3"]),  # all that are shown
        ("", 0, (1,), [""]),  # the user hides them all
    ],
)
def test_jobs_get_the_gpus_that_the_user_shows(tmp_path, monkeypatch, value, count, devices, expected):
    shown(monkeypatch, value, count)
    local, running = Local(len(devices)), []
    for number, several in enumerate(devices):
        assert local.has_room(running)
        code = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
        running.append(local.start(python(tmp_path, code, str(number), devices=several), running))
    assert not local.has_room(running)
    for one in running:
        one.process.wait()
    assert [one.job.log.read_text().strip() for one in running] == expected


def test_jobs_0_is_one_a_gpu_or_else_one_a_core_that_this_process_may_use(tmp_path, monkeypatch):
    def fits(devices):
        local, running = Local(0), []
        while local.has_room(running):
            job = Job("", (), tmp_path, devices=devices)
            running.append(Running(job, None, local.gpus[:devices]))
        return len(running)

    shown(monkeypatch, "4,5,6,7", 4)
    assert (fits(1), fits(2)) == (4, 2)
    shown(monkeypatch, None, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 9}, raising=False)  # of a SLURM job, or of taskset
    assert fits(1) == 3


def test_what_dies_is_named_in_one_line_and_the_others_go_on(tmp_path):
    errors = run([
        python(tmp_path, "print('a line', flush=True); import os; os.kill(os.getpid(), 9)", "killed"),
        python(tmp_path, "import os; os.kill(os.getpid(), 11)", "crashed"),
        python(tmp_path, "print('error: x must be\\nabove 0'); raise SystemExit(1)", "refused"),
        python(tmp_path, "raise SystemExit(75)", "stopped"),
        python(tmp_path, "print('all well')", "well"),
    ])  # fmt: skip
    assert errors == {
        "killed": "killed by SIGKILL, which the system sends when memory runs out; last line: a line",
        "crashed": "killed by SIGSEGV; last line: it printed nothing",
        "refused": "above 0",
        "stopped": "exit code 75; last line: it printed nothing",
        "well": "",
    }


def test_what_hangs_on_start_is_killed_and_named(tmp_path):
    """A first line is due after one second, a second one after two."""
    first = "import time; print('started', flush=True); time.sleep(600)"
    both = "import time; print('started', flush=True); print('imported', flush=True); time.sleep(3)"
    errors = run([
        python(tmp_path, "import time; time.sleep(600)", "hung", speaks=(1.0, 2.0)),
        python(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "frozen", speaks=(1.0, 2.0)),
        python(tmp_path, first, "hung in its imports", speaks=(1.0, 2.0)),
        python(tmp_path, "import time; time.sleep(2)", "silent by nature"),
        python(tmp_path, both, "alive", speaks=(1.0, 2.0)),
    ])  # fmt: skip
    hung = "it hung on start: it printed {} lines in {} s, and was killed"
    assert errors == {
        "hung": hung.format(0, 1),
        "frozen": hung.format(0, 1),
        "hung in its imports": hung.format(1, 2),
        "silent by nature": "",
        "alive": "",
    }


def test_an_experiment_says_that_it_started_before_it_imports_what_may_hang(tmp_path):
    (tmp_path / "torch.py").write_text("import time; print('imports torch', flush=True); time.sleep(600)")
    command = (sys.executable, "-m", "lightning_ebm.experiments", "experiment.yaml")
    hangs = Job(
        "job", command, tmp_path, environment={"PYTHONPATH": str(tmp_path)},
        gives_up=lambda: "imports torch" in hangs.log.read_text(),
    )  # fmt: skip
    assert run([hangs])["job"].startswith("killed by SIGTERM")
    started, imports = hangs.log.read_text().splitlines()
    assert started.startswith("started as process ") and imports == "imports torch"


def test_a_signal_to_this_process_reaches_all_jobs(tmp_path):
    code = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[0] if sys.argv[0] != '-c' else '.')
signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(75)))
print('ready', flush=True)
time.sleep(600)
"""
    jobs = [python(tmp_path, code, name) for name in "abc"]

    def stop():
        while not all(job.log.exists() and "ready" in job.log.read_text() for job in jobs):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped), stops_on_signal():
        run(jobs)
    assert [job.log.read_text().split() for job in jobs] == [["ready", "saved"]] * 3


def test_the_next_job_may_depend_on_how_others_have_ended(tmp_path):
    order = []

    def jobs():
        for name in "abc":
            order.append(f"ask {name}")
            yield python(tmp_path, "", name)

    def ended(one, error):
        order.append(f"end {one.job.name}")
        return "done"

    run_jobs(Local(1), jobs(), 3, ended)
    assert order == ["ask a", "end a", "ask b", "end b", "ask c", "end c"]


def test_a_command_that_cannot_be_started(tmp_path):
    with pytest.raises(ConfigError, match="cannot start 'no-such-program'"):
        run([Job("job", ("no-such-program",), tmp_path)])


def test_jobs_of_submitit(tmp_path, monkeypatch):
    """By its local executor: as jobs of SLURM, but that they run here."""
    submitit = pytest.importorskip("submitit")
    jobs = [
        python(tmp_path, "import os; print('a word is', os.environ['WORD'])", "well", environment={"WORD": "given"}),
        python(tmp_path, "import os; print('error: no', flush=True); os.kill(os.getpid(), 9)", "killed"),
    ]
    monkeypatch.setattr(submitit, "SlurmExecutor", submitit.LocalExecutor)
    errors = run(jobs, Slurm(0, {"timeout_min": 10}))
    assert errors == {
        "well": "",
        "killed": "killed by SIGKILL, which the system sends when memory runs out; last line: no",
    }
    assert jobs[0].log.read_text() == "a word is given\n"


COMMANDS = {
    "sbatch": """
        cp "$1" "$STATE/$$.sh"; touch "$STATE/$$.pid"; "$STATE/bin/run" $$ > /dev/null 2>&1 &
        echo "Submitted batch job $$" """,
    "run": """
        export -n PYTHONSAFEPATH; SLURM_JOB_ID=$1 bash "$STATE/$1.sh" & echo $! > "$STATE/$1.pid"
        wait; [ -e "$STATE/$1.again" ] && rm "$STATE/$1.again" && exec "$STATE/bin/run" $1; rm "$STATE/$1.pid" """,
    "srun": """
        while [[ $1 == --* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done; exec "$@" """,
    "sacct": """
        echo "JobID|State|NodeList"; shift 3
        for id in ${@//-j/}; do
            [ -e "$STATE/$id.pid" ] && echo "$id|RUNNING|n1" || echo "$id|OUT_OF_MEMORY|n1"
        done""",
    "scancel": """pkill -TERM -P "$(cat "$STATE/$1.pid")" """,
    "scontrol": """touch "$STATE/$2.again" """,
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The commands of SLURM, as far as submitit calls them, for a cluster of this machine."""
    pytest.importorskip("submitit")
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("STATE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "random.py").write_text("raise SystemExit('the user has a file of this name')")
    monkeypatch.chdir(tmp_path)
    return Slurm(0, {"partition": "gpu", "time": 240, "gpus_per_node": 2})


def test_a_job_of_slurm_is_requeued_at_its_time_limit_and_taken_up_by_the_same_command(tmp_path, slurm):
    """It gets the signal that comes before the limit, stops its command, which saves, and starts it again."""
    code = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(75)))
print('start', flush=True)
if pathlib.Path('job/log.txt').read_text().count('start') == 1:
    os.kill(os.getppid(), signal.SIGUSR2)
    time.sleep(600)
"""
    job = python(tmp_path, code)
    first = slurm.start(job, [])
    script = (tmp_path / f"{first.process.submitted.job_id}.sh").read_text()
    for line in ("--partition=gpu", "--time=240", "--gpus-per-node=2", "--signal=USR2@90"):
        assert f"#SBATCH {line}\n" in script
    again = slurm.start(job, [])  # as if the first command had been killed
    assert again.process.submitted.job_id == first.process.submitted.job_id
    while again.process.poll() is None:
        time.sleep(0.1)
    assert job.log.read_text().split() == ["start", "saved", "start"]
    assert again.process.poll() == 0


def test_what_slurm_refuses_or_ends_is_one_line(tmp_path, slurm):
    with pytest.raises(ConfigError, match=r"slurm=.*Unavailable parameter\(s\): \['partitoin'\]"):
        run([python(tmp_path, "")], Slurm(0, {"partitoin": "gpu"}))
    code = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"  # the whole job, without a word
    assert "SLURM has ended in the state OUT_OF_MEMORY" in run([python(tmp_path, code)], slurm)["job"]
    (tmp_path / "bin" / "srun").unlink()
    with pytest.raises(ConfigError, match=r'Could not detect "srun"'):
        run([python(tmp_path, "", "other")], slurm)
