"""Fine-tuning under rounding: what is rounded, what is learnt, and what is left alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from edgecap_export.quantisation.qat import fine_tuned, input_ranges, rounded_input, rounding
from edgecap_train.models.student import Student
from support.small_student import whole_student

FRAMES = 96


@pytest.fixture(scope="module")
def student() -> Student:
    return whole_student("yamnet", 4)


@pytest.fixture(scope="module")
def log_mels() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(-3, 2, size=(1, 64, FRAMES)).astype(np.float32) for _ in range(6)]


def weights(student: Student) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in student.state_dict().items()}


def test_within_rounding_weights_have_255_values_a_channel_and_afterwards_are_as_they_were(student, log_mels):
    copied = copy.deepcopy(student)
    before, ranges = weights(copied), input_ranges(copied, log_mels)
    assert len(ranges) == 26  # all of YAMNet's convolutions but the first
    module = dict(copied.encoder.named_modules())[next(iter(ranges))]
    with rounding(copied, ranges):
        channel = module.weight[0].detach()
        step = channel.abs().max() / 127
        torch.testing.assert_close(channel / step, (channel / step).round(), atol=1e-3, rtol=0)
        assert not torch.equal(module.weight, before[f"encoder.{next(iter(ranges))}.weight"])
    assert weights(copied).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in weights(copied).items())


def test_an_input_is_rounded_inside_its_range_and_no_gradient_passes_outside():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.503, 3.0], requires_grad=True)
    rounded = rounded_input(x, (-1.0, 1.55))
    rounded.sum().backward()
    torch.testing.assert_close(rounded.detach(), torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.55]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_fine_tuning_lowers_the_error_of_rounding_and_leaves_its_teacher_alone(student, log_mels):
    before, losses = weights(student), []
    learnt = fine_tuned(student, log_mels, 30, progress=lambda step, loss: losses.append(loss))
    assert all(torch.equal(value, before[name]) for name, value in weights(student).items())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert not learnt.training
    batch = torch.from_numpy(np.concatenate(log_mels))
    ranges = input_ranges(student, log_mels)
    errors = []
    with torch.inference_mode():
        wanted = student.decoder.cross_cache(student.encode(batch))[0]
        for one in (student, learnt):
            tried = copy.deepcopy(one)
            with rounding(tried, ranges):
                errors.append(float((tried.decoder.cross_cache(tried.encode(batch))[0] - wanted).square().mean()))
    assert errors[1] < errors[0]


def test_fine_tuning_needs_sounds(student):
    with pytest.raises(ValueError, match="log-mel"):
        fine_tuned(student, [], 1)
