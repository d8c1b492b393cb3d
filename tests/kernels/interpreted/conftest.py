"""Every file here runs under triton's interpreter, made faster."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_interpreter() -> None:
    from tests.kernels.fast_interpreter import quicken

    quicken()
