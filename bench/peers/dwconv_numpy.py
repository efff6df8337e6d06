"""dwconv's NumPy fallback: what runs where no compiler was.

Best form: the same layer, called the same way; its matrix products have the peer's threads.
"""

from __future__ import annotations

from bench.peers import dwconv_python


class Peer(dwconv_python.Peer):
    backend = "numpy"

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        count = str(threads)
        return {"DWCONV_BACKEND": "numpy", "DWCONV_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
