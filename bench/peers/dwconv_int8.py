"""dwconv on 8-bit integers, called as dwconv itself: from C, in a loop.

Best form: int8 images; uint8 takes as long. The variant is an instruction set or a tree, as of `dwconv`.
"""

from __future__ import annotations

from bench.peers import dwconv


class Peer(dwconv.Peer):
    dtype = "int8"
