"""Our transformer block against Hugging Face's, with the same weights."""

from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig as HuggingFaceConfig
from transformers.models.bert.modeling_bert import BertLayer

from training.models.layers.transformer import Transformer, TransformerBlock

WIDTH, HEADS, INTERMEDIATE = 24, 4, 48
Module = TypeVar("Module", bound=torch.nn.Module)


def their_block(ours: TransformerBlock) -> BertLayer:
    config = HuggingFaceConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        hidden_act="gelu_new",
        layer_norm_eps=1e-12,
    )
    config._attn_implementation = "eager"
    theirs = BertLayer(config).eval()
    pairs = {
        "attention.self.query": ours.query,
        "attention.self.key": ours.key,
        "attention.self.value": ours.value,
        "attention.output.dense": ours.attended,
        "attention.output.LayerNorm": ours.attended_norm,
        "intermediate.dense": ours.expand,
        "output.dense": ours.contract,
        "output.LayerNorm": ours.norm,
    }
    weights = {f"{name}.{key}": value for name, part in pairs.items() for key, value in part.state_dict().items()}
    theirs.load_state_dict(weights, strict=True)
    return theirs


def stirred(module: Module) -> Module:
    """Every parameter moved off its initial value, so that biases and norms take part."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return module.eval()


def test_block_agrees_with_hugging_face():
    ours = stirred(TransformerBlock(WIDTH, HEADS, INTERMEDIATE, dropout=0.1))
    x = torch.randn(3, 5, WIDTH)
    torch.testing.assert_close(ours(x), their_block(ours)(x), atol=1e-5, rtol=0)


def test_transformer_is_hugging_face_blocks_in_a_row():
    ours = stirred(Transformer(3, WIDTH, HEADS, INTERMEDIATE, dropout=0.1))
    x = torch.randn(3, 5, WIDTH)
    expected = x
    for block in ours.blocks:
        expected = their_block(block)(expected)
    torch.testing.assert_close(ours.attend(ours.project(x)), expected, atol=1e-5, rtol=0)
    last = ours.attend(ours.project(x), slice(-1, None))
    torch.testing.assert_close(last, expected[:, -1:], atol=1e-5, rtol=0)


def test_dropout_is_drawn_in_training_alone():
    block = TransformerBlock(WIDTH, HEADS, INTERMEDIATE, dropout=0.1)
    x = torch.randn(3, 5, WIDTH)
    assert not torch.equal(block.train()(x), block(x))
    assert torch.equal(block.eval()(x), block(x))


def test_each_of_the_three_dropouts_acts(monkeypatch):
    """Shares of attention, then what was attended, then the feed-forward layer's output, each by the probability."""
    block = TransformerBlock(WIDTH, HEADS, INTERMEDIATE, dropout=0.1)
    attention, dropout, drawn = F.scaled_dot_product_attention, F.dropout, []

    def attend(query, key, value, bias, p):
        drawn.append(("attention", p))
        return attention(query, key, value, bias, p)

    def drop(x, p, training, inplace):
        drawn.append((tuple(x.shape), p if training else 0.0))
        return dropout(x, p, training, inplace)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    monkeypatch.setattr(F, "dropout", drop)
    x = torch.randn(3, 5, WIDTH)
    for training, p in ((True, 0.1), (False, 0.0)):
        drawn.clear()
        block.train(training)(x)
        assert drawn == [("attention", p), ((3, 5, WIDTH), p), ((3, 5, WIDTH), p)]


def test_what_is_dropped_is_the_output_before_each_residual():
    """With everything dropped x alone is left, normalised twice."""
    block = stirred(TransformerBlock(WIDTH, HEADS, INTERMEDIATE, dropout=1.0)).train()
    x = torch.randn(3, 5, WIDTH)
    torch.testing.assert_close(block(x), block.norm(block.attended_norm(x)))


def test_initial_weights():
    torch.manual_seed(0)
    block = TransformerBlock(64, 4, 128, dropout=0.1)
    for linear in (block.query, block.key, block.value, block.attended, block.expand, block.contract):
        assert linear.weight.abs().max() <= 2 * 0.02  # truncated at two standard deviations
        assert linear.weight.std().item() == pytest.approx(0.02 * 0.88, rel=0.05)  # which leaves 88 % of the deviation
        assert not linear.bias.any()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="12 heads do not divide a width of 128"):
        TransformerBlock(128, 12, 256, dropout=0.1)
