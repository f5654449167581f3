"""What tests of several folders use."""

from tests.webhook import webhook

__all__ = ["webhook"]
