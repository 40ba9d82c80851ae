"""Downloads against a server on this machine: resumed, verified, given up in time; never half a file under its name."""

import gzip
import hashlib
import http.server
import multiprocessing
import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lightning_ebm.data import cifar, download, mnist, omniglot, tiny_imagenet
from lightning_ebm.data.download import Remote, fetch
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.mnist import MNIST, MNISTConfig
from lightning_ebm.registry import datasets
from tests.data import roots, test_cifar

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`. Of the server: `ranges`, whether it knows them; `stop`, bytes it sends at most."""

    def do_GET(self):
        content = self.server.files.get(self.path)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.asked.append(self.headers.get("Range"))
        if content is None:
            self.send_error(404)
            return
        first = int(asked[1]) if asked and self.server.ranges else 0
        if first >= len(content) and first:
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first + self.server.shift}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : first + self.server.stop])

    def log_message(self, *_):
        pass


@contextmanager
def serving(**settings):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings = {"files": {"/set.zip": CONTENT}, "ranges": True, "stop": 10**9, "asked": [], "shift": 0, **settings}
    vars(server).update(settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def remote(server, content=CONTENT, name="set.zip"):
    return Remote(f"http://127.0.0.1:{server.server_address[1]}/{name}", hashlib.md5(content).hexdigest())


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "sub" / "set.zip"


class TestFetching:
    def test_a_whole_transfer(self, target):
        with serving() as server:
            assert fetch(remote(server), target) == target
            assert target.read_bytes() == CONTENT
            fetch(remote(server), target)
        assert server.asked == [None]  # the second time there was nothing to ask
        assert names(target.parent) == ["set.zip"]

    def test_a_transfer_that_stops_is_gone_on_with(self, target):
        with serving(stop=300_000) as server:
            for arrived in (300_000, 600_000, 900_000):
                with pytest.raises(DataError, match=rf"stopped after {arrived} of 1000000 bytes; they are kept"):
                    fetch(remote(server), target)
                assert names(target.parent) == ["set.zip.part"]
            fetch(remote(server), target)
        assert server.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
        assert target.read_bytes() == CONTENT
        assert names(target.parent) == ["set.zip"]

    @pytest.mark.parametrize("there", [CONTENT[:1000], CONTENT, b"other"])
    def test_a_server_without_ranges_starts_over(self, target, there):
        target.parent.mkdir()
        target.with_name("set.zip.part").write_bytes(there)
        with serving(ranges=False) as server:
            fetch(remote(server), target)
        assert target.read_bytes() == CONTENT

    def test_all_had_arrived(self, target):
        target.parent.mkdir()
        target.with_name("set.zip.part").write_bytes(CONTENT)
        with serving() as server:
            fetch(remote(server), target)
        assert server.asked == ["bytes=1000000-"]
        assert names(target.parent) == ["set.zip"]

    @pytest.mark.parametrize("there", [b"", b"damaged", CONTENT + b"x"])
    def test_a_wrong_checksum(self, target, there):
        target.parent.mkdir()
        target.with_name("set.zip.part").write_bytes(there)
        with serving() as server:
            message = (
                rf"set\.zip came with the MD5 checksum \w+ instead of {hashlib.md5(b'expected').hexdigest()}, and was"
            )
            with pytest.raises(DataError, match=message):
                fetch(remote(server, b"expected"), target)
        assert names(target.parent) == []

    def test_a_server_that_goes_on_elsewhere(self, target):
        target.parent.mkdir()
        target.with_name("set.zip.part").write_bytes(CONTENT[:1000])
        with serving(shift=7) as server, pytest.raises(DataError, match="continues at another byte than 1000"):
            fetch(remote(server), target)

    def test_a_file_that_the_server_has_not(self, target):
        with serving() as server, pytest.raises(DataError, match=r"gone\.zip cannot be had: the server answers 404"):
            fetch(remote(server, name="gone.zip"), target)
        assert names(target.parent) == []

    def test_no_server(self, target):
        with serving() as server:
            address = remote(server)
        with pytest.raises(DataError, match=r"cannot be reached \(.*refused.*\): check the network, or put the file"):
            fetch(address, target)
        assert names(target.parent) == []

    def test_a_server_that_says_nothing(self, target, monkeypatch):
        monkeypatch.setattr(download, "PATIENCE", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            started = time.monotonic()
            with pytest.raises(DataError, match=r"cannot be reached \(.*timed out"):
                fetch(Remote(f"http://127.0.0.1:{silent.getsockname()[1]}/set.zip", "0"), target)
            assert time.monotonic() - started < 5

    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with serving() as server, pytest.raises(DataError, match=r"cannot be written \(.*make room, or set data\.root"):
            fetch(remote(server), tmp_path / "file" / "set.zip")

    def test_two_processes_together(self, target):
        with serving() as server:
            context = multiprocessing.get_context("fork")
            both = [context.Process(target=fetch, args=(remote(server), target)) for _ in range(2)]
            for process in both:
                process.start()
            for process in both:
                process.join(30)
                assert process.exitcode == 0
        assert target.read_bytes() == CONTENT
        assert len(server.asked) == 1
        assert names(target.parent) == ["set.zip"]


def packed(path):
    content = path.read_bytes()
    return content if content[:2] == b"\x1f\x8b" else gzip.compress(content)


def published(name, home):
    """What the public homes of a small set serve, by name."""
    if name == "cifar10":
        names = [f"{cifar.FOLDER}/{batch}" for batch in (*cifar.BATCHES, "test_batch")]
        return {cifar.PUBLISHED.name: test_cifar.packed(names)}
    roots.small(name, home)
    files = {path.name: path for path in sorted(home.rglob("*")) if path.is_file()}
    if name == "mnist":
        return {f"{name.removesuffix('.gz')}.gz": packed(path) for name, path in files.items()}
    return {name: path.read_bytes() for name, path in files.items()}


class TestSets:
    @pytest.fixture
    def home(self, root):
        return root / "home"

    @pytest.mark.parametrize(
        ("module", "damaged", "removed"),
        [
            (mnist, "mnist/t10k-images-idx3-ubyte.gz", "mnist/t10k-images-idx3-ubyte.gz"),
            (mnist, "mnist/train-labels-idx1-ubyte", "mnist/train-labels-idx1-ubyte"),
            (omniglot, "omniglot/images_background.zip", "omniglot/images_background.zip"),
            (cifar, "cifar10/cifar-10-batches-py/data_batch_1", "cifar10/cifar-10-batches-py"),
            (cifar, "cifar10/cifar-10-batches-py/test_batch", "cifar10/cifar-10-batches-py"),
            (tiny_imagenet, "tiny_imagenet/tiny-imagenet-200.zip", "tiny_imagenet/tiny-imagenet-200.zip"),
        ],
    )
    def test_following_the_advice_helps(self, home, tmp_path, monkeypatch, module, damaged, removed):
        """The file that the error names is removed, and fetched with data.download=true, as the error says."""
        name = {mnist: "mnist", omniglot: "omniglot", cifar: "cifar10", tiny_imagenet: "tiny_imagenet"}[module]
        root = tmp_path / "root"
        config = datasets.load(name).config(download=True, **roots.small(name, root))
        content = (root / damaged).read_bytes()
        (root / damaged).write_bytes(content[: len(content) // 2])
        with serving(files={f"/{file}": content for file, content in published(name, home).items()}) as server:
            remotes = [remote(server, content, file[1:]) for file, content in server.files.items()]
            monkeypatch.setattr(module, "PUBLISHED", remotes if isinstance(module.PUBLISHED, tuple) else remotes[0])
            loaded = datasets.load(name)
            for _ in range(2):  # download=true alone does not touch what is there
                with pytest.raises(DataError, match=r"remove (\S+), and get .* or with data\.download=true") as caught:
                    loaded(config)
            told = Path(re.search(r"remove (\S+), and", str(caught.value))[1])
            assert told == root / removed
            shutil.rmtree(told) if told.is_dir() else told.unlink()
            assert {"train", "val", "test"} == {*loaded(config).splits}

    def test_only_what_is_missing_is_fetched(self, home, tmp_path, monkeypatch):
        files = {f"/{file}": content for file, content in published("mnist", home).items()}
        (home / "mnist" / "train-labels-idx1-ubyte").unlink()
        with serving(files=files) as server:
            monkeypatch.setattr(mnist, "PUBLISHED", [remote(server, files[name], name[1:]) for name in files])
            with pytest.raises(
                DataError, match=r"no mnist/train-labels-idx1-ubyte\.gz but mnist: set data\.root .*=true"
            ):
                MNIST(MNISTConfig(str(home)))
            source = MNIST(MNISTConfig(str(home), download=True))
        assert len(server.asked) == 1 and len(source.splits["train"]) == 50

    @pytest.mark.parametrize("name", ["mnist", "omniglot", "cifar10", "tiny_imagenet", "imagenet"])
    def test_no_root(self, home, name):
        loaded = datasets.load(name)
        message = r"where is .*\? Set data\.root or \$LIGHTNING_EBM_DATA to the folder that holds it or is to hold it"
        with pytest.raises(DataError, match=message):
            loaded()
        if name != "imagenet":  # of which there is no public copy
            with pytest.raises(DataError, match=message):
                loaded(loaded.config(download=True))
