"""The project's commands. Importing this package reopens standard streams that are closed."""

import os
import sys

# Otherwise the next file or socket gets the descriptor of the closed stream, and child processes
# inherit it as their standard input, output or error.
for _number, _name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, _name) is None:
        _null = os.open(os.devnull, os.O_RDWR)
        if _null == _number:
            os.set_inheritable(_null, True)
        else:
            os.dup2(_null, _number)
            os.close(_null)
        setattr(sys, _name, open(_number, "w" if _number else "r"))  # noqa: SIM115
