"""The digital twin of both instruments, behind the same protocols as the real devices."""
