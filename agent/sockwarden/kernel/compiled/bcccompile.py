"""The program that compiles with BCC, in a process of its own: the compiler's 200 MB end with it.

Started as a plain file by bccrung.py; imports nothing of sockwarden. The arguments are the source file, then the
compiler's options. Writes one JSON object of program names and instructions (hex) to standard output; what the
compiler says goes to standard error, which the agent reads. Needs no privilege.
"""

import json
import os
import sys
from typing import Final

NO_BCC: Final = 2
"""The exit code for a BCC that is not there or cannot be loaded; 1 is the compiler's own refusal."""


def main(source: str, options: list[str]) -> int:
    """Compile and write the answer; return the exit code."""
    answer = os.dup(1)
    os.dup2(2, 1)  # BCC says some things on standard output
    try:
        import bcc  # noqa: PLC0415 - that it is missing is an answer
    except (ImportError, OSError) as error:  # OSError: its library is missing or cannot be loaded
        sys.stderr.write(f"error: {error}\n")
        return NO_BCC
    with open(source, "rb") as file:
        text = file.read()
    try:
        module = bcc.BPF(text=text, cflags=options)
    except Exception as error:  # noqa: BLE001 - BCC raises Exception itself
        sys.stderr.write(f"{error}\n")
        return 1
    count = bcc.lib.bpf_num_functions(module.module)
    names = [bcc.lib.bpf_function_name(module.module, index) for index in range(count)]
    with open(answer, "w", encoding="ascii") as told:
        json.dump({name.decode(): module.dump_func(name).hex() for name in names}, told)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
