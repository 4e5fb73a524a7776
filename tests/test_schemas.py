"""Keys of the configuration: each has a line of help, and names agree with what they stand for."""

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from lfiw import schemas
from lfiw.data.batches import MIXINGS
from lfiw.data.transforms import AUGMENTATIONS
from lfiw.generators.module import HOMES
from lfiw.nets import ACTIVATIONS, NETS
from lfiw.training.module import SCHEDULES

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


def choices(schema: Any, key: str) -> tuple[str, ...]:
    return next(f.metadata["choices"] for f in fields(schema) if f.name == key)


def test_words_that_are_allowed_are_the_ones_that_the_code_knows() -> None:
    assert choices(schemas.MixedData, "mixing") == MIXINGS
    assert choices(schemas.MixedData, "augment") == tuple(AUGMENTATIONS)
    assert choices(schemas.RealData, "augment") == tuple(AUGMENTATIONS)
    assert choices(schemas.Optimizer, "schedule") == tuple(SCHEDULES)
    assert choices(schemas.MLP, "activation") == tuple(ACTIVATIONS)
    assert list(schemas.SCHEMAS["model"]) == [*NETS, *HOMES]
