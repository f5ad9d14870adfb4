"""Label images as data: class tables, remapping, reading. Pure code, no nerfstudio."""
