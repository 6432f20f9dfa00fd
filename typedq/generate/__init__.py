"""Code for producers elsewhere, made of a bundle. Nothing in a bundle becomes code. No I/O."""
