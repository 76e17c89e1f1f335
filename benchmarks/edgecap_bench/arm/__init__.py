"""The Arm lab: emulated Raspberry Pis. Not part of the wheel."""
