"""Linear layers answered from the record: the recorded values, the usual gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from vitcam.export.linears import AnsweredLinears, RecordedLinears


class Twice(nn.Module):
    """Calls one layer twice and another by keyword; counts what is really computed."""

    def __init__(self):
        super().__init__()
        self.shared, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        tokens = F.gelu(self.shared(F.gelu(self.shared(tokens))))
        return F.linear(tokens, weight=self.last.weight, bias=self.last.bias)


def test_rows_answer_and_have_the_gradient_of_the_whole():
    model, tokens = Twice().requires_grad_(False), torch.randn(2, 5, 4)
    whole = tokens.clone().requires_grad_()
    expected = model(whole)[:, :2]
    (gradient,) = torch.autograd.grad(expected.square().sum(), whole)

    with RecordedLinears(lambda output: output[:, :2]) as recorded:
        model(tokens)
    rows = tokens[:, :2].clone().requires_grad_()
    with AnsweredLinears(recorded, lambda output: output):
        answered = model(rows)
    torch.testing.assert_close(answered, expected)
    torch.testing.assert_close(torch.autograd.grad(answered.square().sum(), rows)[0], gradient[:, :2])


def test_what_is_answered_is_not_computed():
    """Not even where the answer is wrong: it is the record that counts."""
    model = Twice().requires_grad_(False)
    with RecordedLinears(torch.zeros_like) as recorded:
        model(torch.randn(2, 5, 4))
    with AnsweredLinears(recorded, lambda output: output):
        assert model(torch.randn(2, 5, 4)).abs().max() == 0


def test_what_was_not_recorded_is_computed():
    model, tokens = Twice().requires_grad_(False), torch.randn(2, 5, 4)
    expected = model(tokens)
    for keep in (lambda output: None, lambda output: output[:, :1]):
        with RecordedLinears(keep) as recorded:
            model(tokens)
        with AnsweredLinears(recorded, lambda output: output):
            torch.testing.assert_close(model(tokens), expected)
            torch.testing.assert_close(model(tokens), expected)  # the record is used up
