"""The texts as the editor has them, positions in them, changes of them."""
