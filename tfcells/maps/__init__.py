"""How it looks: coordinates with quality numbers, pictures of them, and a TensorBoard Projector folder."""
