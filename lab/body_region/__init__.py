"""How the head that tells body regions apart is made and measured."""
