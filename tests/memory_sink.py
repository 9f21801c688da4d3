"""A sink in memory with the session's rules, for tests of acquisition."""

from __future__ import annotations

from mobilescope.core.protocols import CapturedField, TileState


class MemorySink:
    """Keeps what it is given; calls something after each image."""

    def __init__(self, after_each=lambda: None):
        self.flat, self.attempts, self.captures, self.events = {}, {}, {}, []
        self.order = []
        self._after_each = after_each

    @property
    def tiles(self):
        """The latest attempt of each tile, by (slide, row, column), of single pictures: (index, image, focus)."""
        return {
            (key.slide, key.row, key.column): taken[-1][:3]
            for key, taken in self.attempts.items() if (key.channel, key.plane) == ("", 0)
        }

    def add_flat_field(self, kind, image, channel=""):
        self.flat[kind, channel] = image

    def add_benchtop_tile(self, key, index, image, focus, *, attempt=0, mark=""):
        taken = self.attempts.setdefault(key, [])
        assert attempt > (taken[-1][3] if taken else -1), f"{key} is there with attempt {attempt}"
        taken.append((index, image, focus, attempt, mark))
        self.order.append((key, attempt, mark))
        self._after_each()

    def add_phone_capture(self, slide, index, row, column, capture, *, channel=""):
        key = (slide, index, channel) if channel else (slide, index)
        assert key not in self.captures
        self.captures[key] = (row, column, capture)
        self._after_each()

    def has_flat_field(self, kind, channel=""):
        return (kind, channel) in self.flat

    def has_tile(self, key):
        return key in self.attempts

    def tile_marks(self, slide):
        return {
            key: TileState(attempt, mark, focus.z_um, focus.verdict)
            for key, taken in self.attempts.items() if key.slide == slide
            for _, _, focus, attempt, mark in taken[-1:]
        }

    def has_capture(self, slide, row, column, channel=""):
        field = self.captured_field(slide, row, column)
        return field is not None and self.captures.get(
            (slide, field.index, channel) if channel else (slide, field.index), (None, None)
        )[:2] == (row, column)

    def captured_field(self, slide, row, column):
        of_it = [
            (len(key), CapturedField(key[1], taken[2].nominal.x_um, taken[2].nominal.y_um))
            for key, taken in self.captures.items() if key[0] == slide and taken[:2] == (row, column)
        ]
        white = [field for length, field in of_it if length == 2]
        return (white or [field for _, field in of_it] or [None])[-1]

    def free_capture_index(self, slide, wanted):
        numbers = [key[1] for key in self.captures if key[0] == slide]
        return max(numbers) + 1 if wanted in numbers else wanted

    def add_event(self, level, text):
        self.events.append((level, text))
