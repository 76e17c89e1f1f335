"""Losses of distillation: what each is zero for, and what each ignores."""

from __future__ import annotations

import math

import pytest
import torch

from edgecap_train.distill.losses import ClipLoss, TeachingHeads, caption_losses, frame_losses, tag_losses
from edgecap_train.models.encoder import Classifier
from edgecap_train.text.tokenizer import PAD


def test_the_caption_loss_of_padding_is_zero_and_changes_no_other_tokens() -> None:
    logits = torch.randn(1, 3, 10)
    short = caption_losses(logits[:, :2], torch.tensor([[4, 5]]), 0.1)
    padded = caption_losses(logits, torch.tensor([[4, 5, PAD]]), 0.1)
    torch.testing.assert_close(padded, torch.cat([short, torch.zeros(1, 1)], dim=1))
    assert (short > 0).all()


def test_the_tag_loss_is_zero_for_the_teacher_itself_and_positive_otherwise() -> None:
    teacher = torch.randn(4, 527)
    torch.testing.assert_close(tag_losses(teacher.clone(), teacher), torch.zeros(4), atol=1e-3, rtol=0)
    assert (tag_losses(teacher + 1, teacher) > 0.1).all()


def test_the_frame_loss_counts_only_a_clips_own_frames() -> None:
    ours, theirs = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3)
    theirs[0, 2:] = 100.0
    error, counted = frame_losses(ours, theirs, torch.tensor([3, 4]))
    assert counted.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert error.tolist() == [[0, 0, 10_000, 0], [0, 0, 0, 0]]


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
    heads.start_tags(Classifier(weight, bias, ("bell", "x", "dog", "y")), ["dog", "cat", "bell"])
    torch.testing.assert_close(heads.tags.weight[0], weight[2])
    torch.testing.assert_close(heads.tags.bias[2], bias[0])
    torch.testing.assert_close(heads.tags.weight[1], before)
