"""What opens the data is found from the class of its settings, whatever was imported before."""

import sys

import pytest

import dnamamba.datasets.labelled.data as opened
from dnamamba.datasets import labelled
from dnamamba.datasets.labelled import LabelledConfig
from dnamamba.datasets.settings import _module_of
from dnamamba.suite.mave import MaveConfig


class Other(MaveConfig):
    module = dict


def test_extended_settings_find_the_data_of_what_they_extend_before_it_was_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labelled, "data", opened)  # undone after the test, as all of these
    monkeypatch.delattr(LabelledConfig, "module")
    monkeypatch.delitem(sys.modules, "dnamamba.datasets.labelled.data")
    found = _module_of(MaveConfig(table="t.csv"))
    assert (found.__name__, found is opened.LabelledData) == ("LabelledData", False)


def test_own_data_comes_before_what_was_imported_of_the_class_that_is_extended() -> None:
    assert _module_of(Other(table="t.csv")) is dict
    assert _module_of(MaveConfig(table="t.csv")) is opened.LabelledData
