"""What strangers' files do to the readers: an error that names the file, or an array; no crash, and no hang.

A few seconds in the suite; `LIGHTNING_EBM_FUZZ=100000 python -m pytest tests/data/test_fuzz.py` tries as many of each.
"""

import gzip
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_ebm.data.archive import Zip
from lightning_ebm.data.cifar import read_batch, unpacked
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.images import decode
from lightning_ebm.data.mnist import read_idx
from tests.data.roots import batch, encoded, idx, picture, write_zip
from tests.data.test_cifar import packed

EXAMPLES = int(os.environ.get("LIGHTNING_EBM_FUZZ", "0"))
fuzzed = settings(
    max_examples=EXAMPLES or 60,
    deadline=20_000,  # milliseconds that no file may take, however busy the machine is
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

BATCHES = [pickle.dumps(batch(2, 0), protocol) for protocol in (2, 3, 4, 5)]
INSTRUCTIONS = [code.code.encode("latin1") for code in pickletools.opcodes]
IDX = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))


@st.composite
def damaged(draw, wholes):
    """A whole file with some bytes changed, taken away, put in or repeated."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 2, 4, 16]))
        put = draw(
            st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff" * 4, bytes(4), bytes(content[place:][:20])]))
        )
        content[place : place + length] = put
    return bytes(content)


@st.composite
def programs(draw):
    """A pickle of random instructions."""
    names = [b"numpy\nndarray\n", b"numpy\ndtype\n", b"numpy.core.multiarray\n_reconstruct\n", b"_codecs\nencode\n"]
    some = st.one_of(
        st.sampled_from(INSTRUCTIONS),
        st.sampled_from([b"c" + name for name in [*names, b"os\nsystem\n"]]),
        st.sampled_from(
            [b"U\x04data", b"U\x06labels", b"K\x01", b"q\x01", b"h\x01", b"(", b"tR", b"b", b"u", b"e", b"\x86"]
        ),
        st.binary(max_size=4),
    )
    return b"\x80\x02" + b"".join(draw(st.lists(some, max_size=60))) + b"."


def read_or_refuse(read, content):
    """Either an array, or an error of ours in one line."""
    try:
        return read(content, "a file")
    except DataError as error:
        assert str(error).startswith("a file") and "\n" not in str(error) and " object at 0x" not in str(error)
        return None


@fuzzed
@given(st.one_of(st.binary(max_size=200), damaged(BATCHES), programs()))
def test_batches(content):
    part = read_or_refuse(read_batch, content)
    assert part is None or part.images.shape == (len(part.labels), 3, 32, 32)


@fuzzed
@given(st.one_of(st.binary(max_size=200), damaged([IDX, gzip.compress(IDX)])))
def test_idx(content):
    values = read_or_refuse(read_idx, content)
    assert values is None or (values.dtype == np.uint8 and values.ndim in (1, 2, 3))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "set.zip"
    write_zip(path, {f"a/{number}.png": encoded(picture(number, 8, 8), "PNG") for number in range(3)})
    return path, path.read_bytes()


@fuzzed
@given(st.data())
def test_zips(zipped, data):
    path, whole = zipped
    content = data.draw(st.one_of(st.binary(max_size=200), damaged([whole])))
    path.with_name("damaged.zip").write_bytes(content)
    try:
        archive = Zip(path.with_name("damaged.zip"), "get another")
        archive.fingerprint()
    except DataError as error:
        assert "damaged.zip" in str(error)
        return
    for name in archive.names:
        try:
            assert len(archive.read(name)) < 10**6
        except DataError as error:
            assert "damaged.zip" in str(error)


IMAGES = [
    encoded(values, kind)
    for values in (picture(0, 16, 16, 3), picture(0, 16, 16), np.arange(64, dtype=np.uint16).reshape(8, 8))
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM")
    if values.dtype == np.uint8 or kind in ("PNG", "TIFF", "PPM")
]


@settings(fuzzed, max_examples=EXAMPLES or 200)
@given(damaged(IMAGES))
def test_images(content):
    image = read_or_refuse(lambda values, where: decode(values, where, "get another"), content)
    assert image is None or (image.mode == "RGB" and np.asarray(image).shape == (*image.size[::-1], 3))


TAR = packed([f"cifar-10-batches-py/{name}" for name in ("data_batch_1", "test_batch")])


@fuzzed
@given(st.one_of(st.binary(max_size=200), damaged([TAR, gzip.decompress(TAR)])))
def test_tars(zipped, content):
    path = zipped[0].with_name("damaged.tar.gz")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.tar\.gz (is not a complete archive|has no file)"):
        unpacked(path, "get another")
