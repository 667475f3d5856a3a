"""The structures of src/call.h, field by field, as ctypes passes them."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p


class LinearCall(ctypes.Structure):
    """LinearCall of src/call.h."""

    _fields_ = (
        ("x", c_void_p),
        ("x_type", c_int32),
        ("before", c_int32),
        ("norm", c_void_p),
        ("eps", c_float),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("y", c_void_p),
        ("y_type", c_int32),
        ("add", c_int32),
        ("input", c_void_p),
        ("input_type", c_int32),
        ("down", c_void_p),
        ("up", c_void_p),
        ("N", c_int64),
        ("K", c_int64),
        ("M", c_int64),
        ("R", c_int64),
        ("first", c_int64),
        ("last", c_int64),
    )


class AttentionCall(ctypes.Structure):
    """AttentionCall of src/call.h."""

    _fields_ = (
        ("qkv", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("q_scale", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("type", c_int32),
        ("visible", c_void_p),
        ("out", c_void_p),
        ("T", c_int64),
        ("length", c_int64),
        ("head_stride", c_int64),
        ("num_heads", c_int64),
        ("num_kv_heads", c_int64),
        ("D", c_int64),
    )


class SurveyCall(ctypes.Structure):
    """SurveyCall of src/call.h."""

    _fields_ = (
        ("logits", c_void_p),
        ("x", c_void_p),
        ("x_type", c_int32),
        ("weights", c_void_p),
        ("penalty", c_void_p),
        ("end_ids", c_void_p),
        ("tokens", c_void_p),
        ("best", c_void_p),
        ("second", c_void_p),
        ("largest", c_void_p),
        ("total", c_void_p),
        ("ends", c_void_p),
        ("N", c_int64),
        ("V", c_int64),
        ("K", c_int64),
        ("E", c_int64),
    )
