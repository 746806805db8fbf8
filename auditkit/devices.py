"""Whether there is such a device, asked before anything is trained or measured on it."""

from __future__ import annotations

import torch

from auditkit.errors import SettingError


def check_device(name: str | torch.device) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        SettingError: there is no such device here.
    """
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SettingError(
            f"The device {str(name)!r} cannot be used here ({reason}): give cpu, or a device this "
            "machine has, as torch names it."
        ) from error
