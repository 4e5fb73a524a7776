"""Keys of the configuration: each has a line of help, and names agree with what they stand for."""

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch

from lfiw import schemas
from lfiw.data.transforms import AUGMENTATIONS
from lfiw.features.inception import PRECISIONS
from lfiw.generators.generative_module import HOMES
from lfiw.nets import ACTIVATIONS, NETS
from lfiw.training.trained_module import SCHEDULES
from lfiw.weighting.calibration import Calibrator, fit_calibrator
from lfiw.weighting.losses import LOSSES

CLASSES = [c for c in vars(schemas).values() if isinstance(c, type) and is_dataclass(c) and c is not schemas.Config]


@pytest.mark.parametrize("schema", CLASSES, ids=lambda schema: schema.__name__)
def test_every_key_has_help(schema: Any) -> None:
    for f in fields(schema):
        assert f.metadata["help"], f.name


def test_every_group_is_a_field_of_the_configuration() -> None:
    names = [f.name for f in fields(schemas.Config)]
    assert [name for name in names if name in schemas.SCHEMAS] == list(schemas.SCHEMAS)


def test_a_schema_is_registered_under_its_own_name() -> None:
    for group, schema in schemas.SCHEMAS.items():
        if isinstance(schema, dict):
            for name, one in schema.items():
                assert one.name == name, group


def words(schema: Any, key: str) -> tuple[str, ...]:
    return next(f.metadata["choices"] for f in fields(schema) if f.name == key)


def test_words_that_are_allowed_are_the_ones_that_the_code_knows() -> None:
    assert tuple(AUGMENTATIONS) == schemas.AUGMENTATIONS
    assert tuple(SCHEDULES) == schemas.SCHEDULES
    assert words(schemas.MLP, "activation") == tuple(ACTIVATIONS)
    assert words(schemas.Features, "precision") == tuple(PRECISIONS)
    assert list(schemas.MODELS) == [*NETS, *HOMES]
    assert list(schemas.SCHEMAS["loss"]) == list(LOSSES)


@pytest.mark.parametrize("name", schemas.CALIBRATIONS[1:])
def test_every_calibration_is_fitted(name: str) -> None:
    assert isinstance(fit_calibrator(name, torch.arange(5.0), torch.arange(-3.0, 2.0)), Calibrator)


def test_a_list_of_words_stands_in_one_place() -> None:
    """What several keys allow is a constant; no other tuple of choices is repeated."""
    constants = [value for name, value in vars(schemas).items() if name.isupper() and isinstance(value, tuple)]
    found = [(c, f.name) for c in CLASSES for f in fields(c) if f.name in vars(c)["__annotations__"]]
    own = [words(c, f) for c, f in found if words(c, f) and not any(words(c, f) is value for value in constants)]
    assert len(own) == len(set(own))
    assert not set(own) & set(constants)
