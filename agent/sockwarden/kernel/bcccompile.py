"""The program that compiles with BCC, in a process of its own: the compiler's 200 MB end with it.

Started as a plain file by bccrung.py; imports nothing of sockwarden. The arguments are the source file, then the
compiler's options. Writes one JSON object of program names and instructions (hex) to standard output; what the
compiler says goes to standard error, which the agent reads. Needs no privilege.
"""

import json
import sys


def main(source: str, options: list[str]) -> int:
    """Compile and write the answer; 1 if the compiler refused and said why, 2 if there is no BCC."""
    try:
        import bcc  # noqa: PLC0415 - that it is missing is an answer
    except (ImportError, OSError) as error:  # OSError: its library is missing or cannot be loaded
        sys.stderr.write(f"error: {error}\n")
        return 2
    with open(source, "rb") as file:
        text = file.read()
    try:
        module = bcc.BPF(text=text, cflags=options)
    except Exception as error:  # noqa: BLE001 - BCC raises Exception itself
        sys.stderr.write(f"{error}\n")
        return 1
    count = bcc.lib.bpf_num_functions(module.module)
    names = [bcc.lib.bpf_function_name(module.module, index) for index in range(count)]
    json.dump({name.decode(): module.dump_func(name).hex() for name in names}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
