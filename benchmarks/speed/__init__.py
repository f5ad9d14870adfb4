"""Speed of training, rendering and start-up against nerfacto."""
