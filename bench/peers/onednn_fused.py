"""oneDNN with the expansion and the 3x3 depthwise convolution of an inverted residual in one primitive.

Best form for large images (a depthwise post-op: 6.2 ms instead of 18.8 for both at 512x512 16>96 s2), where
rows of the expansion stay in cache as they do in dwconv. It runs kernels of an older generation, so that on
small images the plain form is often faster; frameworks use the plain form. Only for blocks that oneDNN can
fuse.
"""

from __future__ import annotations

from bench.peers import onednn


class Peer(onednn.Peer):
    fuse = True
