"""What scripts import from here of LightOn's."""
