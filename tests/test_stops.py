"""A stop by a signal stays one, whatever a library that it interrupts makes of it."""

import os
import signal
import time

import pytest
import torch

from dnamamba import UserError
from dnamamba.errors import LEFT_ALONE, Interrupted, Terminated, signal_of
from dnamamba.inference import together
from dnamamba.processes import end_whole, stops_as_such
from dnamamba.training import gathering


@stops_as_such()
def hidden() -> None:
    """As torch hides one within a `with torch.device`, and dnamamba the error of that."""
    try:
        try:
            raise Terminated(signal.SIGHUP)
        finally:
            raise RuntimeError("trying to pop from empty mode stack")
    except RuntimeError as error:
        raise UserError("no model of this configuration can be built") from error


@stops_as_such()
def handled() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise Interrupted("resume") from None


@stops_as_such()
def mistaken() -> None:
    raise UserError("a mistake")


def test_a_stop_is_found_under_other_errors() -> None:
    with pytest.raises(Terminated) as stopped:
        hidden()
    assert stopped.value.number == signal.SIGHUP


def test_other_errors_and_handled_stops_pass() -> None:
    with pytest.raises(UserError, match="a mistake"):
        mistaken()
    with pytest.raises(Interrupted, match="resume"):
        handled()


@pytest.mark.parametrize("number", [signal.SIGTERM, *LEFT_ALONE])
def test_each_signal_ends_a_command_whole(number: signal.Signals) -> None:
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGTERM, *LEFT_ALONE)}
    try:
        end_whole()
        with pytest.raises(Terminated) as stopped:
            signal.raise_signal(number)
        signal.raise_signal(number)  # the same one late, or a batch system that sends it each second
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert signal_of(stopped.value) == number


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch is built without it")
def test_a_signal_ends_the_wait_for_other_processes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of two processes that read together, whose other one never comes."""
    monkeypatch.setattr(together, "_LONG", 0.1)
    monkeypatch.setattr(gathering, "_PATIENCE", 0.1)
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    child = os.fork()
    if child == 0:
        end_whole()
        with together.together(2, "cpu"):
            os._exit(0)
    time.sleep(0.7)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "dnamamba: waiting for 1 other process(es) of context_size=2 at 127.0.0.1:0",
        "dnamamba: stopped by SIGTERM before every process was there",
    ]
