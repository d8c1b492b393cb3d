"""No test reaches the network: a process that has imported this connects to its own machine alone.

Those of `tests/processes.py` have imported it too. A Python that is started anew has the environment, where
HF_HUB_OFFLINE keeps huggingface_hub from asking.
"""

import ipaddress
import os
import socket
import sys
from typing import Any

# Python tells of each (PEP 578): a name is looked up, or a socket connected.
_LOOKED_UP = ("socket.getaddrinfo", "socket.gethostbyname")


class NetworkError(BaseException):
    """A test reached for the network. Not an Exception: code under test answers those with a message."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKED_UP:
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name and not _is_here(name) and not (event in _LOOKED_UP and _address(name)):
        raise NetworkError(f"a test reached for the network: {name}")


def _is_here(name: str) -> bool:
    address = _address(name)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return name in ("localhost", socket.gethostname())


def _address(name: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None


# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
sys.addaudithook(_refuse)
