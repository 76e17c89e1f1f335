"""Equalised students say the same, and their maps have channels of more equal size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecap.frontend import FrontEnd
from edgecap_export.equalise import channel_peaks, equalised
from edgecap_train.student import Student, StudentConfig

FRAMES = 96


def student_of(encoder) -> Student:
    torch.manual_seed(7)
    front_end = FrontEnd(power=1, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log")
    made = Student(StudentConfig(encoder=encoder, front_end=front_end, vocabulary_size=20, d_model=32, layers=1,
                                 feed_forward=32, max_tokens=4)).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return made


@pytest.fixture(scope="module")
def log_mels() -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    return [rng.normal(-3, 2, size=(1, 64, FRAMES)).astype(np.float32) for _ in range(3)]


def test_an_equalised_student_says_the_same_with_channels_of_more_equal_size(log_mels):
    student = student_of("yamnet")
    before = {name: value.clone() for name, value in student.state_dict().items()}
    made = equalised(student, log_mels)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    new = torch.from_numpy(np.random.default_rng(9).normal(-3, 2, size=(1, 64, FRAMES)).astype(np.float32))
    with torch.inference_mode():
        exact, found = student.encode(new), made.encode(new)
    assert not torch.equal(exact, found)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))
    spreads = []
    for one in (student, made):
        pointwise = [module for module in one.encoder.modules()
                     if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1)]  # fmt: skip
        peaks = channel_peaks(one.encoder, pointwise, log_mels)
        spreads.append(np.mean([float(peak.clamp(min=1e-6).log().std()) for peak in peaks.values()]))
    assert spreads[1] < spreads[0]


def test_a_student_with_swish_stays_as_it_is_and_sounds_are_needed(log_mels):
    student = student_of("efficientnet-b2")
    assert equalised(student, log_mels) is student
    with pytest.raises(ValueError, match="log-mel"):
        equalised(student, [])
