from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support import faulty_decoder as faulty
from tests.support.gateways import until
from workers.decoding.decoders import Decoders
from workers.decoding.encoded_frames import EncodedFrames, FrameLayout
from workers.decoding.limits import DecodingLimits
from workers.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTooSlow,
    PixelDataInconsistent,
    UnreadableInstance,
    WorkerError,
)

LAYOUT = FrameLayout(4, 6, 1, 16, 12, signed=False, photometric_interpretation="MONOCHROME2")
PROGRAM = "tests.support.faulty_decoder"
SMALL = DecodingLimits(base_bytes=100_000_000, base_seconds=1)

pytestmark = pytest.mark.slow


def request(*frames: bytes | int, digest: str = "d" * 64) -> EncodedFrames:
    contents = tuple(frame if isinstance(frame, bytes) else str(frame).encode() for frame in frames)
    return EncodedFrames(digest, 1, "1.2.840.10008.1.2.4.90", LAYOUT, contents)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    """Two processes that do what their frames say, within little memory and a second."""
    crew = Decoders(most=2, limits=SMALL, program=PROGRAM)
    yield crew
    crew.close()


def values(decoders: Decoders, *requests: EncodedFrames) -> list[list[int]]:
    return [[int(frame[0, 0]) for frame in frames] for _, frames in decoders.decode(requests)]


def children() -> set[int]:
    """Return the decoders of these tests; those that other tests in this process left at work are not theirs."""
    return {child.pid for child in psutil.Process().children() if PROGRAM in " ".join(child.cmdline())}


def test_requests_come_back_in_order_whatever_process_had_them(decoders: Decoders) -> None:
    requests = [request(*range(start, start + 3)) for start in range(0, 60, 3)]
    assert values(decoders, *requests) == [[start, start + 1, start + 2] for start in range(0, 60, 3)]


def test_processes_are_kept_for_the_next_image(decoders: Decoders) -> None:
    first = values(decoders, *[request(faulty.WHO)] * 6)
    assert len({value for frames in first for value in frames}) == 2
    assert values(decoders, request(faulty.WHO))[0][0] in {value for frames in first for value in frames}


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (faulty.CRASH, DecoderCrashed, "decoder_crashed"),
        (faulty.SILENT, DecoderCrashed, "decoder_crashed"),
        (faulty.BABBLE, DecoderCrashed, "decoder_crashed"),
        (faulty.ENDED, DecoderCrashed, "decoder_crashed"),
        (faulty.SPIN, DecoderTooSlow, "decoder_too_slow"),
        (faulty.EAT, DecoderOutOfMemory, "decoder_out_of_memory"),
        (faulty.HALF, DecoderOutOfMemory, "decoder_out_of_memory"),
        (faulty.FORGET, PixelDataInconsistent, "pixel_data_inconsistent"),
        (faulty.RAISE, UnreadableInstance, "unreadable_instance"),
        (faulty.SURPRISE, UnreadableInstance, "unreadable_instance"),
    ],
)
def test_a_codec_that_fails_ends_in_a_code_and_the_next_image_is_decoded(
    decoders: Decoders, fault: bytes, error: type[WorkerError], code: str
) -> None:
    with pytest.raises(error, match="object dddddddddddd") as caught:
        values(decoders, request(1), request(2, fault), request(3))
    assert caught.value.code == code
    assert not caught.value.retryable
    assert "Doe" not in str(caught.value)
    assert values(decoders, request(4), request(5)) == [[4], [5]]


def test_a_decoder_that_hangs_without_computing_is_ended_by_the_clock() -> None:
    decoders = Decoders(most=1, limits=DecodingLimits(base_seconds=1, wall_factor=1.5), program=PROGRAM)
    with pytest.raises(DecoderTooSlow, match="frame 1 of JPEG 2000"):
        values(decoders, request(faulty.SLEEP))
    assert not children()


def test_what_one_image_may_take_goes_by_its_size() -> None:
    limits = DecodingLimits()
    small, large = LAYOUT, FrameLayout(9000, 9000, 1, 16, 12, signed=False, photometric_interpretation="MONOCHROME2")
    allowances = [limits.allowance(EncodedFrames("d", 1, "1", layout, (b"x",))) for layout in (small, large)]
    assert allowances[0].room_bytes < 300_000_000
    assert 1_000_000_000 < allowances[1].room_bytes < 2_000_000_000
    assert allowances[0].cpu_seconds < allowances[1].cpu_seconds < 100


def test_a_decoder_killed_from_outside_costs_nothing_but_time() -> None:
    decoders = Decoders(most=1, program=PROGRAM)
    values(decoders, request(0))
    (pid,) = children()
    results = decoders.decode([request(7)])
    os.kill(pid, signal.SIGKILL)
    assert [int(frames[0][0, 0]) for _, frames in results] == [7]
    assert children() != {pid}
    decoders.close()


def test_a_decoder_killed_at_work_is_asked_again(decoders: Decoders) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(values, decoders, request(faulty.SPIN))
        until(lambda: bool(children()), "a decoder runs")
        (pid,) = children()
        until(lambda: psutil.Process(pid).cpu_times().user > 0.5, "it is at work")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DecoderTooSlow):  # the same frame, in another process
            answer.result()


def test_threads_do_not_wait_for_each_others_frames_nor_get_them(decoders: Decoders) -> None:
    def work(start: int) -> list[list[int]]:
        return values(decoders, *(request(value) for value in range(start, start + 20)))

    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(work, range(0, 400, 100)))
    assert answers == [[[value] for value in range(start, start + 20)] for start in range(0, 400, 100)]
    assert len(children()) == 2


def test_a_crash_in_one_thread_leaves_the_others_alone(decoders: Decoders) -> None:
    def crash() -> str:
        with pytest.raises(DecoderCrashed) as caught:
            values(decoders, request(faulty.CRASH))
        return caught.value.code

    with ThreadPoolExecutor() as pool:
        crashes = [pool.submit(crash) for _ in range(5)]
        assert values(decoders, *(request(value) for value in range(30))) == [[value] for value in range(30)]
        assert [crashed.result() for crashed in crashes] == ["decoder_crashed"] * 5


def test_frames_that_nobody_waits_for_leave_no_process_at_work(decoders: Decoders) -> None:
    results = decoders.decode([request(1), request(faulty.SPIN), request(3)])
    next(results)
    results.close()
    decoders.close()
    assert not children()


def test_frames_stay_valid_when_their_decoder_is_gone(decoders: Decoders) -> None:
    (_, (frame,)), *_ = list(decoders.decode([request(9)]))
    decoders.close()
    assert np.array_equal(frame, np.full((4, 6), 9))


def test_a_decoder_inherits_neither_settings_nor_open_files(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONCUE_STORAGE__URL", "postgresql://oncue:secret@db/oncue")
    with (tmp_path / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        ((value,),) = values(decoders, request(faulty.INHERITED))
    # Its three standard streams, the connection, the memory of the request, and the folder that it lists.
    assert value == 600


def test_decoders_end_when_their_worker_is_killed() -> None:
    program = (
        "import time\n"
        "from workers.decoding.decoders import Decoders\n"
        "from workers.decoding.encoded_frames import EncodedFrames, FrameLayout\n"
        "layout = FrameLayout(2, 2, 1, 16, 12, signed=False, photometric_interpretation='MONOCHROME2')\n"
        f"crew = Decoders(most=1, program={PROGRAM!r})\n"
        "list(crew.decode([EncodedFrames('d', 1, '1', layout, (b'1',))]))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == b"ready\n"
        (decoder,) = psutil.Process(worker.pid).children()
        worker.kill()
        worker.wait()
    until(lambda: not decoder.is_running(), "the decoder has ended, too")
