"""How OVN Pay is run: on one machine, and as images in a cluster."""
