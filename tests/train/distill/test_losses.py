"""Losses of distillation: what each is zero for, and what each ignores."""

from __future__ import annotations

import math

import pytest
import torch

from edgecap_train.distill.losses import ClipLoss, TeachingHeads, caption_loss, frame_loss, tag_loss
from edgecap_train.text.captions import PAD


def test_the_caption_loss_ignores_padding() -> None:
    logits = torch.randn(1, 3, 10)
    short = caption_loss(logits[:, :2], torch.tensor([[4, 5]]), 0.1)
    padded = caption_loss(logits, torch.tensor([[4, 5, PAD]]), 0.1)
    torch.testing.assert_close(short, padded)


def test_the_tag_loss_is_zero_for_the_teacher_itself_and_positive_otherwise() -> None:
    teacher = torch.randn(4, 527)
    assert float(tag_loss(teacher.clone(), teacher)) == pytest.approx(0.0, abs=1e-4)
    assert float(tag_loss(teacher + 1, teacher)) > 0.1


def test_the_frame_loss_looks_only_at_a_clips_own_frames() -> None:
    ours, theirs = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    theirs[0, 2:] = 100.0
    assert float(frame_loss(ours, theirs, torch.tensor([2, 4]))) == 0.0
    assert float(frame_loss(ours, theirs, torch.tensor([3, 4]))) > 0.0


@pytest.mark.parametrize("kind", ["contrastive", "mse"])
def test_the_clip_loss_falls_when_it_is_followed(kind: str) -> None:
    torch.manual_seed(0)
    loss = ClipLoss(8, 6, kind, exponentiate=True, shared=16)
    student, teacher = torch.randn(12, 8), torch.randn(12, 6)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    first = float(loss(student, teacher).detach())
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert float(value.detach()) < 0.5 * first


def test_the_published_scale_is_not_exponentiated() -> None:
    torch.manual_seed(0)
    loss = ClipLoss(8, 6, "contrastive", exponentiate=False)
    assert float(loss.logit_scale.detach()) == pytest.approx(math.log(1 / 0.07))
    student, teacher = torch.randn(12, 8), torch.randn(12, 6)
    published = float(loss(student, teacher).detach())
    loss.exponentiate = True
    assert published != pytest.approx(float(loss(student, teacher).detach()))


def test_teacher_frames_are_standardised_by_what_was_measured() -> None:
    heads = TeachingHeads(8, 5, 3, None)
    frames = torch.randn(500, 3) * torch.tensor([1.0, 5.0, 0.1]) + 2.0
    heads.measure(frames)
    standard = heads.standardise(frames)
    torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(0), torch.ones(3), atol=1e-3, rtol=0)


def test_the_tag_head_begins_at_the_rows_that_are_known() -> None:
    heads = TeachingHeads(8, 3, 3, None)
    before = heads.tags.weight[1].clone()
    weight, bias = torch.randn(4, 8), torch.randn(4)
    heads.start_tags(weight, bias, [2, None, 0])
    torch.testing.assert_close(heads.tags.weight[0], weight[2])
    torch.testing.assert_close(heads.tags.bias[2], bias[0])
    torch.testing.assert_close(heads.tags.weight[1], before)
