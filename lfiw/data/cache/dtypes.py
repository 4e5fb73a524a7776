"""The element types a table can hold: their names in a manifest and their codes in a safetensors header."""

import torch

from lfiw.errors import InputError

CODES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
BY_CODE = {code: dtype for dtype, code in CODES.items()}
BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in CODES}


def dtype_name(dtype: torch.dtype) -> str:
    """The name in a manifest, as in `torch.uint8` → "uint8".

    Raises:
        InputError: a cache cannot hold this type.
    """
    if dtype not in CODES:
        raise InputError(f"a cache cannot hold {dtype}: convert to one of {', '.join(BY_NAME)}")
    return str(dtype).removeprefix("torch.")
