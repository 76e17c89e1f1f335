"""Equalised students say the same, and their maps have channels of more equal size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecap_export.quantisation.channel_equalisation import channel_peaks, equalised
from support.small_student import whole_student

FRAMES = 96
LogMels = list[NDArray[np.float32]]


@pytest.fixture(scope="module")
def log_mels() -> LogMels:
    rng = np.random.default_rng(8)
    return [rng.normal(-3, 2, size=(1, 64, FRAMES)).astype(np.float32) for _ in range(3)]


def test_an_equalised_student_says_the_same_with_channels_of_more_equal_size(log_mels: LogMels) -> None:
    student = whole_student("yamnet", 7)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    made = equalised(student, log_mels)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    new = torch.from_numpy(np.random.default_rng(9).normal(-3, 2, size=(1, 64, FRAMES)).astype(np.float32))
    with torch.inference_mode():
        exact, same = student.encode(new), made.encode(new)
    assert not torch.equal(exact, same)
    torch.testing.assert_close(same, exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))
    spreads = []
    for one in (student, made):
        pointwise = [
            module
            for module in one.encoder.modules()
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1)
        ]
        peaks = channel_peaks(one.encoder, pointwise, log_mels)
        spreads.append(np.mean([float(peak.clamp(min=1e-6).log().std()) for peak in peaks.values()]))
    assert spreads[1] < spreads[0]


def test_a_student_with_swish_stays_as_it_is_and_sounds_are_needed(log_mels: LogMels) -> None:
    student = whole_student("efficientnet-b2", 7)
    assert equalised(student, log_mels) is student
    with pytest.raises(ValueError, match="log-mel"):
        equalised(student, [])
