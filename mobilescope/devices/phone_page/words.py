"""How things stand at the phone's page, in words for a terminal."""

from __future__ import annotations

from mobilescope.devices.phone_page.values import PageSnapshot


def status_line(now: PageSnapshot) -> str:
    """Return one line."""
    if not now.phone:
        return f"waiting for a phone, {now.stills} stills"
    parts = [now.why_no_still() or f"{now.phone}: {now.fps:.0f} pictures/s"]
    if now.rates is not None and now.rates.round_trip_ms is not None:
        parts.append(f"round trip {now.rates.round_trip_ms:.0f} ms")
    if now.camera is not None:
        parts.append(f"stills {now.camera.still_width}x{now.camera.still_height}")
        parts.append(settings_words(now))
    parts.append(f"{now.stills} stills")
    if now.rates is not None and now.rates.waiting:
        parts.append(f"{now.rates.waiting} wait on the phone")
    if now.clock is not None and now.clock.worth_saying:
        side = "ahead" if now.clock.ahead_ms > 0 else "behind"
        parts.append(f"the phone's clock is {abs(now.clock.ahead_ms) / 1000:.0f} s {side}; times are this computer's")
    if now.preview_failure:
        parts.append(f"the preview fails on this computer: {now.preview_failure}")
    return ", ".join(filter(None, [*parts, now.warning]))


def settings_words(now: PageSnapshot) -> str:
    """Return what the camera holds, what it refused and what it does not offer."""
    if now.camera is None:
        return ""
    groups = {"locked": "locked", "refused": "REFUSED", "not offered": "not offered"}
    said = []
    for state, word in groups.items():
        of_state = [report for report in now.camera.settings if report.state == state]
        if of_state:
            shown = [f"{each.name} {each.got}".strip() if state == "locked" else each.name for each in of_state]
            said.append(f"{word}: {', '.join(shown)}")
    return "; ".join(said)
