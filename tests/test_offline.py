"""The guard that keeps tests off the network, in this process and in those that it starts."""

import socket
import urllib.request

import pytest

from tests import processes
from tests.offline import NetworkError

# Of the network for documentation, RFC 5737, and of the domain that no name is in, RFC 6761.
ELSEWHERE = "192.0.2.1"


def test_address_of_other_machine_is_refused() -> None:
    with socket.socket() as own:
        own.settimeout(1)
        with pytest.raises(NetworkError, match=f"a test reached for the network: {ELSEWHERE}"):
            own.connect((ELSEWHERE, 80))


def test_name_of_other_machine_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"a test reached for the network: dnamamba\.invalid"):
        urllib.request.urlopen("http://dnamamba.invalid/", timeout=1)


def test_own_machine_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()


def test_started_process_is_refused_too() -> None:
    program = (
        "import os, socket; print(os.environ['HF_HUB_OFFLINE'], flush=True)\n"
        f"socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    )
    done = processes.run("-c", program)
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert f"a test reached for the network: {ELSEWHERE}" in done.stderr
