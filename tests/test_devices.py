from __future__ import annotations

import pytest

from auditkit.devices import check_device
from auditkit.errors import SettingError


def test_the_processor_is_always_there() -> None:
    check_device("cpu")


@pytest.mark.parametrize("name", ["toaster", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there_is_one_sentence(name: str) -> None:
    with pytest.raises(SettingError, match="cannot be used here") as caught:
        check_device(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
