"""Start a command with make's variables: `python -m flows.support.make MODULE WORD ...`

A word names a variable, whose value becomes one argument unchanged: NAME, or NAME:-DEFAULT.
`NAME...` is split into arguments as a shell would split it, and `--option=NAME` is left out if the
variable is empty. Values are passed in the environment and never become part of a shell command.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from plumbline.errors import InputError, refuse


def main() -> int:
    """Replace this process by the command; return an exit status if a value is refused."""
    module, *words = sys.argv[1:]
    try:
        given = arguments(words, os.environ)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return os.execv(sys.executable, [sys.executable, "-m", module, *given])


def arguments(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The arguments that words stand for, options first.

    Raises:
        InputError: a value has a quotation that does not end, or an option's begins with a dash.
    """
    options: list[str] = []
    others: list[str] = []
    for word in words:
        option, _, wanted = word.rpartition("=")
        name, _, default = wanted.removesuffix("...").partition(":-")
        value = values.get(name) or default
        try:
            parts = shlex.split(value) if wanted.endswith("...") else [value]
        except ValueError as error:
            raise refuse(name, f"words as a shell reads them ({error})", value) from None
        if option and any(part.startswith("-") for part in parts):
            raise refuse(name, "without a dash at its beginning", value)
        if not option:
            others += parts
        elif value:
            options += [option, *parts]
    return [*options, "--", *others] if others else options


if __name__ == "__main__":
    sys.exit(main())
