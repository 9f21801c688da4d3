"""Opening files that are read while written: readers that give up on damage, a writer that readers can join at once."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import h5py

from mobilescope.core.errors import SessionLockedError

# HDF5 takes metadata that don't match their checksum for half written, waits, each time twice as long, and reads them
# again: a hundred times, which in a damaged file is for ever. This many are 0.03 s, and 1 s while a writer is at work.
_ATTEMPTS_CLOSED, _ATTEMPTS_WRITTEN = 25, 30


def open_swmr_reading(path: Path, *, written: bool) -> h5py.File:
    """Open a file for reading while it may be written.

    Parameters
    ----------
    written : bool
        Its writer is at work now.
    """
    access = _access(_ATTEMPTS_WRITTEN if written else _ATTEMPTS_CLOSED)
    return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ, access))


def open_swmr_writing(path: Path) -> h5py.File:
    """Open for writing and for readers at once; h5py's own way passes through a state that readers can't open."""
    try:
        access = _access(_ATTEMPTS_CLOSED)
        identifier = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE, access)
    except OSError as error:
        if "already open" in str(error):
            raise SessionLockedError(
                f"{path} is open for reading in this very process", "close it, then open it for writing"
            ) from error
        raise
    return h5py.File(identifier)


def _access(attempts: int) -> h5py.h5p.PropFAID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    # HDF5's own locks fail on some network drives; the session's lock file stands in for them.
    access.set_file_locking(False, True)
    _bound_attempts(access, attempts)
    return access


def _bound_attempts(access: h5py.h5p.PropFAID, attempts: int) -> None:
    """Set what h5py has no method for; where its library can't be asked, HDF5's default stands."""
    try:
        function = ctypes.CDLL(h5py.h5p.__file__).H5Pset_metadata_read_attempts
    except (OSError, AttributeError):
        return
    function.argtypes, function.restype = (ctypes.c_int64, ctypes.c_uint), ctypes.c_int
    function(access.id, attempts)
