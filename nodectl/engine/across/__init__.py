"""What can only be seen by looking at many nodes at once: who differs, what is there twice, whose clock is off."""
