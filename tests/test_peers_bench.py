"""The benchmark judges: a wrong picture must be called wrong, a right one right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from convcli.images.write import write_picture

PEERS = Path(__file__).resolve().parent.parent / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers():
    import sys

    spec = importlib.util.spec_from_file_location("peers", PEERS)
    module = importlib.util.module_from_spec(spec)
    sys.modules["peers"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["peers"]


def test_a_picture_is_judged_by_its_samples(peers, tmp_path):
    expected = np.random.default_rng(3).integers(0, 256, (100, 50, 3)).astype(np.float64)
    path = tmp_path / "o.png"
    assert peers.difference(path, expected) == "no output"
    write_picture(path, expected.astype(np.uint8))
    assert peers.difference(path, expected) == "right"
    assert peers.difference(path, expected + 2) == "right"  # decoders differ
    assert "off" in peers.difference(path, np.clip(expected + 3, 0, 400))
    assert "off" in peers.difference(path, expected[:, ::-1])
    assert "shape" in peers.difference(path, expected[1:])


def test_references_are_what_they_say(peers, tmp_path):
    step = np.zeros((9, 9, 3), np.uint8)
    step[:, 5:] = 100
    path = tmp_path / "step.png"
    write_picture(path, step)
    edges = peers.reference("sobel", path)
    assert edges[4, 4].tolist() == [400, 400, 400]
    assert edges[4, 1].tolist() == [0, 0, 0]
    x, y = peers.reference("maps", path)
    assert (x[4, 4, 0], y[4, 4, 0]) == (400, 0)
    assert peers.reference("gauss", path).mean() == pytest.approx(step.mean(), abs=15)


def test_commands_are_measured_and_limited(peers, monkeypatch):
    runner = peers.Runner()
    try:
        seconds, memory, code = runner("sleep 0.2")
        assert seconds >= 0.2
        assert code == 0
        assert 0 < memory < 12, "the parent's memory is counted"
        assert runner("false")[2] == 1
        assert runner("echo 'a;b' | cat")[2] == 0
        monkeypatch.setattr(peers, "TIMEOUT_S", 1)
        assert runner("sleep 600")[2] < 0
    finally:
        runner.close()


def test_every_job_has_a_name_and_convcli_in_it(peers, tmp_path):
    names = [name for name, _ in peers.Bench(tmp_path).jobs()]
    assert len(set(names)) == len(names) == 32
    assert {"start-up", "sobel 12 MP JPEG", "leung-malik to 48 maps 1 MP", "sobel of 300 photographs"} <= set(names)
    job = peers.Bench(tmp_path).start_up()
    assert {"convcli", "vips", "opencv", "ffmpeg"} <= set(job.commands)
