"""Attention of ONNX, opset 23 and later, in its plain form: products and a softmax."""

from __future__ import annotations

import math

import numpy as np

from ..activation import Array
from .channels_first import T, UnsupportedError
from .onnx_call import Call


def attention(call: Call) -> T:
    net = call.net
    for name in ("qk_matmul_output_mode", "softcap"):
        call.refuse(name, 0, 0.0, default=0)
    call.refuse("softmax_precision", None, 1)
    for index, what in ((4, "past_key"), (5, "past_value"), (6, "nonpad_kv_seqlen")):
        if call.has(index):
            raise UnsupportedError(f"{what}; attention without a past is supported")
    q, k, v = (call.tensor(index) for index in range(3))
    flat = len(q.perm) == 3
    if flat:  # [batch, length, heads * features]
        heads = call.integer("q_num_heads"), call.integer("kv_num_heads")
        q, k, v = (_heads(call, x, count) for x, count in ((q, heads[0]), (k, heads[1]), (v, heads[1])))
    if not len(q.perm) == len(k.perm) == len(v.perm) == 4:
        raise ValueError(f"queries of shape {call.shape(0)}; 3 or 4 axes are expected")
    if net.shape(q)[1] != net.shape(k)[1]:
        raise UnsupportedError("keys of fewer heads than queries; as many are supported")
    scale = call.number("scale", 1 / math.sqrt(net.shape(q)[3]))
    weights = net.matmul(net.unary("linear", q, scale), net.transpose(k, (0, 1, 3, 2)))
    mask, alive = _mask(call, net.shape(weights))
    if mask.any():
        weights = net.binary("add", weights, mask)
    weights = net.softmax(weights, -1)
    if not alive.all():
        weights = net.binary("mul", weights, alive)
    y = net.matmul(weights, v)
    if not flat:
        return y
    batch, count, length, features = net.shape(y)
    return net.reshape(net.transpose(y, (0, 2, 1, 3)), (batch, length, count * features))


def _heads(call: Call, x: T, count: int) -> T:
    batch, length, features = call.net.shape(x)
    if count < 1 or features % count:
        raise ValueError(f"{features} features cannot be {count} heads")
    return call.net.transpose(call.net.reshape(x, (batch, length, count, features // count)), (0, 2, 1, 3))


def _mask(call: Call, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """What is added to the products, and 0 for rows that see nothing, whose result is 0; else 1."""
    mask = call.array(3, "attn_mask") if call.has(3) else np.zeros((1, 1), np.float32)
    if mask.dtype == np.bool_:
        mask = np.where(mask, np.float32(0), np.float32(-np.inf))
    if call.integer("is_causal"):
        seen = np.tri(shape[-2], shape[-1], dtype=bool)
        call.budget.take(np.broadcast_shapes(mask.shape, seen.shape))
        mask = np.where(seen, mask, np.float32(-np.inf))
    if mask.dtype != np.float32 or np.broadcast_shapes(mask.shape, shape) != shape:
        raise UnsupportedError(
            f"a mask {mask.dtype} {mask.shape} for {shape}; one of that shape is supported"
        )
    alive = (mask > -np.inf).any(-1, keepdims=True)
    return np.where(alive, mask, np.float32(0)).astype(np.float32), np.asarray(alive, np.float32)
