"""Waiting for the files of one picture in a place that programs of others write to: a folder, or a phone's memory.

What lay there when the picture was asked for is none of it. A file counts once its size has settled and it reads as
what it says it is; a second picture for the same place, a copy and one that was taken before are passed over and told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mobilescope.core.errors import DeviceError, InputFileError
from mobilescope.core.phone_config import Pictures
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.clock import PhoneClock
from mobilescope.devices.phones.names import (
    JPEG_SUFFIXES,
    RAW_SUFFIXES,
    PictureNames,
    foreign_reason,
    is_picture,
    is_safe,
    is_temporary,
    paired_by_name,
    suffix_of,
)

# A file that can't be read this many settling times after its last change is not read again.
_BAD_AFTER = 10


@dataclass(frozen=True)
class Stamp:
    """Size and time of a file's last change, as the place tells them."""

    size: int
    changed: float


class Arrivals:
    """The pictures of one place.

    Parameters
    ----------
    look : callable
        Returns what lies there now, by name: regular files alone.
    read : callable
        Returns the picture of some files; InputFileError where they are not whole (yet).
    pictures : str
        What the phone saves at each release.
    settle_s : float
        How long a file's size must not change.
    tell : callable
        Shows a line to the person.
    where : str
        The place, for messages.
    """

    def __init__(
        self, look: Callable[[], Mapping[str, Stamp]], read: Callable[[PictureNames], PhonePicture], *,
        pictures: Pictures, settle_s: float, tell: Callable[[str], None], where: str, pause_s: float = 0.2,
    ) -> None:
        self._look, self._read, self._tell = look, read, tell
        self._pictures, self._settle_s, self._pause_s, self._where = pictures, settle_s, pause_s, where
        self._suffixes = {"dng": RAW_SUFFIXES, "jpeg": JPEG_SUFFIXES}.get(pictures, RAW_SUFFIXES + JPEG_SUFFIXES)
        self._old: set[str] = set()
        self._clock = PhoneClock()
        self._told: set[str] = set()

    def mark_old(self) -> None:
        """Leave what lies there now aside for good."""
        self._old = set(self._look())

    def newest(self) -> PhonePicture | None:
        """Return the picture that was changed last, of those that lie there; None where there is none that reads."""
        there = self._look()
        names = [name for name in there if is_picture(name, self._suffixes)]
        found = [picture for picture in paired_by_name(names) if self._complete(picture)]
        for picture in sorted(found, key=lambda p: max(there[name].changed for name in p.names), reverse=True):
            try:
                return self._read(picture)
            except InputFileError:
                continue
        return None

    def wait(self, stop: StopToken, patience_s: float, known: Collection[str]) -> PhonePicture:
        """Return the next picture that arrives; `mark_old` was called before it was asked for.

        Parameters
        ----------
        known : collection of str
            SHA-256 of files that were used already.

        Raises
        ------
        DeviceError
            None came in time, only half of one came, or what came can't be read.
        CancelledError
            A stop was asked for.
        """
        asked_s, began_s = time.time(), time.monotonic()
        seen: dict[str, tuple[Stamp, float]] = {}
        bad: dict[PictureNames, str] = {}
        while True:
            stop.raise_if_requested(f"waiting for a picture in {self._where}")
            now_s = time.monotonic()
            there = self._look()
            self._old &= set(there)
            self._note(there, seen, now_s)
            for picture in self._settled(seen, now_s):
                try:
                    read = self._read(picture)
                except InputFileError as error:
                    bad[picture] = str(error)
                    if now_s - max(seen[name][1] for name in picture.names) > _BAD_AFTER * self._settle_s:
                        self._old |= set(picture.names)
                        raise DeviceError(
                            f"a picture arrived that can't be used: {error}",
                            "take that picture out, and run the same command again",
                        ) from error
                    continue
                self._old |= set(picture.names)
                reason = self._no_use(read, asked_s, known)
                if reason:
                    self._tell(f"{picture.shown} is passed over: {reason}")
                    continue
                if read.captured_s is not None:
                    self._clock.heard(read.captured_s, asked_s, time.time())
                return read
            if now_s - began_s > patience_s:
                raise self._too_late(patience_s, seen, bad)
            time.sleep(self._pause_s)

    def _note(self, there: Mapping[str, Stamp], seen: dict[str, tuple[Stamp, float]], now_s: float) -> None:
        """Remember new files and when each was last seen to change."""
        for name in [name for name in seen if name not in there]:
            del seen[name]
        for name, stamp in there.items():
            if name in self._old:
                continue
            foreign = foreign_reason(name)
            if foreign and is_safe(name) and foreign not in self._told:
                self._told.add(foreign)
                self._tell(f"{name} is passed over: {foreign}")
            if suffix_of(name) not in self._suffixes:
                continue
            if not is_picture(name, self._suffixes):
                if name not in self._told and not is_temporary(name):
                    self._told.add(name)
                    self._tell(f"a file called {name!a} in {self._where} is left alone: no name for a picture")
                continue
            if name not in seen or seen[name][0] != stamp:
                seen[name] = (stamp, now_s)

    def _settled(self, seen: Mapping[str, tuple[Stamp, float]], now_s: float) -> list[PictureNames]:
        """Return the pictures whose files are all there and no longer change, first changed first."""
        names = [
            name for name, (stamp, since_s) in seen.items()
            if name not in self._old and stamp.size > 0 and now_s - since_s >= self._settle_s
        ]
        found = paired_by_name(names)
        whole = [picture for picture in found if self._complete(picture)]
        raws = [picture.dng for picture in found if picture.dng and not picture.jpeg]
        jpegs = [picture.jpeg for picture in found if picture.jpeg and not picture.dng]
        if not whole and self._pictures == "dng+jpeg" and len(raws) == len(jpegs) == 1:
            # Some phones number both apart; whether they are one picture, their times tell when they are read.
            whole = [PictureNames(raws[0], jpegs[0], by_name=False)]
        return sorted(whole, key=lambda picture: min(seen[name][0].changed for name in picture.names))

    def _complete(self, picture: PictureNames) -> bool:
        wanted = {"dng": picture.dng, "jpeg": picture.jpeg}
        return all(wanted[part] for part in self._pictures.split("+"))

    def _no_use(self, picture: PhonePicture, asked_s: float, known: Collection[str]) -> str:
        """Return why a picture is not the one asked for, empty where it is."""
        if digests_of(picture) & set(known):
            return "it is the same, byte for byte, as one that was used already"
        if picture.captured_s is not None and self._clock.surely_before(picture.captured_s, asked_s):
            return f"by the phone's clock ({picture.captured}) it was taken before this field was asked for"
        return ""

    def _too_late(
        self, patience_s: float, seen: Mapping[str, tuple[Stamp, float]], bad: Mapping[PictureNames, str]
    ) -> DeviceError:
        waited = f"in {self._where} within {patience_s:g} s"
        if bad:
            return DeviceError(f"no whole picture came {waited}: {next(iter(bad.values()))}", "take another one")
        left = sorted(name for name in seen if name not in self._old)
        if left:
            return DeviceError(
                f"only {', '.join(left)} came {waited}",
                f'the instrument file says pictures = "{self._pictures}": set the camera app so, or say what it saves',
            )
        return DeviceError(f"no picture came {waited}", "check the phone and what brings its pictures here")


def digests_of(picture: PhonePicture) -> set[str]:
    """Return the SHA-256 by which a picture is known: of each of its files."""
    return {picture.facts[name] for name in ("dng_sha256", "jpeg_sha256", "picture_sha256") if name in picture.facts}
