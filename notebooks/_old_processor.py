"""The environment in which numerical libraries compute as on an old processor.

    python notebooks/_old_processor.py COMMAND [ARGUMENT ...]

An x86-64 processor chooses among instruction sets at run time, and the last bits of a
sum or of an exponential go with the choice. Under this environment every library takes
the path of a Nehalem of 2008, without AVX and FMA: what it prints the same, any x86-64
processor prints the same. Used by `_write.py`, `make portable` and nothing else.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment():
    """Variables to run a process with, on top of those of this process."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise SystemExit(
            f"the old instruction set is x86-64's; this is {platform.machine()}"
        )
    return {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(_numpy_features()),
        "NUMBA_CPU_NAME": "nehalem",
        # not set, Numba adds the host's features to the name: AVX-512 stays on
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(ROOT / "_build" / "numba-nehalem"),
        # glibc's exp, log, sin; names to version 2.32 end in _Usable
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps="
        "-AVX2,-FMA,-FMA4,-AVX2_Usable,-FMA_Usable,-FMA4_Usable",
        "ARROW_USER_SIMD_LEVEL": "SSE4_2",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    }


def _numpy_features():
    """What this machine's NumPy would choose at run time; it refuses to disable more."""
    from numpy._core import _multiarray_umath as numpy_core

    # asked of a process without the variable: here, it might be set already
    code = (
        "from numpy._core._multiarray_umath import __cpu_features__ as has;"
        f"print(*[f for f in {numpy_core.__cpu_dispatch__} if has[f]])"
    )
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "NPY_DISABLE_CPU_FEATURES"
    }
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


if __name__ == "__main__":
    os.environ.update(environment())
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        raise SystemExit(f"{sys.argv[1]}: {error.strerror}") from None
