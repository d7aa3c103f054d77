"""Flows compute what they computed before (`before.py` wrote it)."""

import json

import pytest
import torch

import before
from rgflow import FlowConfig, checkpoint, make_flow, tensors


def compare(name, flow, kept, every=1):
    for key, value in before.computed(flow, every).items():
        torch.testing.assert_close(value, kept[f"{name}/{key}"], rtol=1e-6, atol=1e-6, msg=key)


@pytest.fixture(scope="module")
def kept():
    return tensors.load(before.FILE)


def test_flows_of_every_kind(kept):
    found, metadata = kept
    for name, config in json.loads(metadata["configs"]).items():
        flow = make_flow(FlowConfig.from_dict(config))
        start = f"{name}/weights/"
        state = {k.removeprefix(start): v.float() for k, v in found.items() if k.startswith(start)}
        checkpoint.fill(flow, state, before.FILE)
        compare(name, flow, found)


def test_models_of_the_package_and_of_the_released_code(kept):
    for name, flow, every in before.every_model():
        compare(name, flow, kept[0], every)
