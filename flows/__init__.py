"""The commands. Whichever runs, this comes first: it opens standard streams that are closed."""

import os
import sys

# Otherwise the next file or socket takes the number of the closed one, and children inherit it as
# their standard input, output or error.
for _number, _name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, _name) is None:
        _null = os.open(os.devnull, os.O_RDWR)
        if _null == _number:
            os.set_inheritable(_null, True)
        else:
            os.dup2(_null, _number)
            os.close(_null)
        setattr(sys, _name, open(_number, "w" if _number else "r"))  # noqa: SIM115
