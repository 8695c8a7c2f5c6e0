"""What we look with: the catalog of pretrained networks, their weights, and how they are cut at named layers."""
