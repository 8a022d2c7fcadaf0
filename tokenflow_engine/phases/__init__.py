"""The four phases of an edit, in the order of the data: invert, correspond, edit, decode.

Each reports its progress, can be cancelled at every UNet call, and leaves its result on disk, where
a second run or a second prompt finds it.
"""
